"""All contracts of a project, found by looking into a package."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType

from pydantic import ValidationError

from core.errors import ContractError, UnknownJobType
from core.model import Contract
from core.topology import Topology


class Catalogue:
    """The job types that this project knows, by name."""

    def __init__(self, contracts: Iterable[Contract]) -> None:
        self._by_name: dict[str, Contract] = {}
        for contract in contracts:
            if contract.name in self._by_name:
                raise ContractError(f"two contracts are called {contract.name!r}; rename one of them")
            _check_examples(contract)
            self._by_name[contract.name] = contract

    @classmethod
    def of(cls, package: ModuleType) -> Catalogue:
        """Import every module of `package` and take each module-level `Contract` in it.

        Raises ContractError where a module has none, where two share a name, or where an example does not validate.
        """
        found: dict[int, Contract] = {}
        for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            module = importlib.import_module(info.name)
            here = [value for value in vars(module).values() if isinstance(value, Contract)]
            if not here:
                raise ContractError(f"{info.name} defines no Contract; assign one at module level, or move the file")
            found.update((id(contract), contract) for contract in here)
        return cls(found.values())

    def __iter__(self) -> Iterator[Contract]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __getitem__(self, name: str) -> Contract:
        """The contract called `name`. Raises UnknownJobType, with the names most like it."""
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownJobType(name, difflib.get_close_matches(name, self._by_name, n=3)) from None

    def get(self, name: str) -> Contract | None:
        return self._by_name.get(name)

    def topology(self) -> Topology:
        """The queues and bindings that these contracts need."""
        return Topology({contract.name: contract.queues for contract in self})


def _check_examples(contract: Contract) -> None:
    for number, example in enumerate(contract.examples):
        try:
            contract.payload.model_validate(example)
        except ValidationError as error:
            raise ContractError(f"job type {contract.name!r}: examples[{number}] does not validate: {error}") from None
