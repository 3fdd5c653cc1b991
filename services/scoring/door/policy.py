"""How strict the door is."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
USUAL_RATE = 1000.0


class DoorPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How strict the door is; as it stands, for an application that nothing but this process can reach.

    Parameters
    ----------
    require_keys : bool
        Whether every route that is not open needs a key.
    hosts : tuple of str or None
        Host names that a request may be addressed to where no key is needed, so that no web page can
        reach the service through a name of its own (DNS rebinding); None for any.
    rate : float
        Requests a second of one key, or of one address without a key; 0 for no limit.
    workers : int
        How many share the rate; each allows its part of it.
    open_invocations : bool
        Whether ``POST /invocations`` needs no key: inside SageMaker, IAM is the door.
    body_seconds, answer_seconds : float
        Until when the body must be there, and then the answer.
    in_flight : int
        Requests that may be answered at once in one worker: let in, and with their body there.
    room_for_bodies : int
        Bytes of all bodies that one worker reads or answers at once. The usual is 16 of the largest
        batches: read, each takes several times its size, so that a worker stays well below 1 GB.
    """

    require_keys: bool = False
    hosts: tuple[str, ...] | None = None
    rate: float = 0.0
    workers: int = 1
    open_invocations: bool = False
    body_seconds: float = 10.0
    answer_seconds: float = 30.0
    in_flight: int = 512
    room_for_bodies: int = 64 * 1024 * 1024


class DoorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user says of the door.

    Parameters
    ----------
    require_keys : bool
        Whether keys are needed even on loopback.
    allowed_hosts : tuple of str
        Further host names by which this machine calls the service.
    rate : float or None
        Requests a second of one key or address, over all workers; 0 for no limit; None for the usual:
        no limit on loopback, 1000 elsewhere.
    sagemaker : bool
        Whether this runs in a SageMaker container.
    """

    require_keys: bool = False
    allowed_hosts: tuple[str, ...] = ()
    rate: float | None = None
    sagemaker: bool = False

    def policy(self, address: str, workers: int) -> DoorPolicy:
        """Return the policy of one worker.

        Parameters
        ----------
        address : str
            IP address that the service is bound to.
        """
        local = ip_address(address).is_loopback
        keys = self.require_keys or not local
        rate = self.rate if self.rate is not None else 0.0 if local else USUAL_RATE
        hosts = None if keys else (*LOCAL_HOSTS, address, *(host.lower() for host in self.allowed_hosts))
        return DoorPolicy(require_keys=keys, hosts=hosts, rate=rate, workers=workers, open_invocations=self.sagemaker)
