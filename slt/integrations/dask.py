"""A Dask cluster as an executor. The one file that imports distributed."""

from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager

from samplers.errors import InputError

try:
    from distributed import Client, KilledWorker
    from distributed.comm import CommClosedError, parse_address
    from distributed.comm.registry import get_backend
except ImportError as error:
    raise InputError("a cluster needs Dask's scheduler: pip install 'slt-toolkit[dask]'") from error

PATIENCE = 10  # seconds for the scheduler to answer


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """The workers of the Dask scheduler at `address`, such as tcp://10.0.0.1:8786, as an executor for `slt.track`.

    The workers need this toolkit, and the files under the same paths. Raises InputError, one line, where no scheduler
    answers, or the cluster is lost on the way.
    """
    try:
        get_backend(parse_address(address)[0])
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{address}: no Dask scheduler answers there ({said}); start one with dask scheduler"
        ) from error
    try:
        with client:
            yield client.get_executor(pure=False)
    except (KilledWorker, CommClosedError, CancelledError) as error:
        raise InputError(
            f"{address}: the cluster was lost ({type(error).__name__}); run it again: it goes on"
        ) from error
