"""The rules for every rendered release. A check takes a release and yields complaints; none is passed over by name."""

from tests.deploy.checks import environment, network, pods, references, scaling, shape

MODULES = (shape, pods, references, environment, scaling, network)
ALL = [check for module in MODULES for check in module.CHECKS]
