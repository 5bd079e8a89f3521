"""A broker and an outcome store in memory that do what real ones do, and worse on demand.

`BrokerServer` and `StoreServer` are the servers: they outlive the programs that connect to them. `SimulatedBroker` and
`SimulatedOutcomes` fill the ports for one program each. All chance comes from a `Chance` and all time from the event loop, so that
with a `SeededChance` and a loop of virtual time a whole system runs the same way again (`tests/simulation/`).
"""

from adapters.simulated.broker import SimulatedBroker
from adapters.simulated.outcomes import SimulatedOutcomes
from adapters.simulated.server import BrokerServer
from adapters.simulated.store import StoreServer

__all__ = ["BrokerServer", "SimulatedBroker", "SimulatedOutcomes", "StoreServer"]
