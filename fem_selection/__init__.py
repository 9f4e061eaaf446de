from mpi4py import MPI as _MPI  # noqa: F401
