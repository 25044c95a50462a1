"""The one tree of errors: each says what was wrong, what was got and what to do, in one sentence."""


class SynspectError(Exception):
    """Anything synspect raises on purpose; the message is one line a user can act on."""

    exit_code = 1


class InputError(SynspectError):
    """What the user gave cannot be used: exit code 2 on the command line, a 4xx over HTTP."""

    exit_code = 2


class ConditionError(InputError):
    """An unknown level or pattern, or a pair that no patient shows."""


class RequestError(InputError):
    """A well-formed request that cannot be served: count, seed, start or target out of range."""


class SlicesError(InputError):
    """An array that is not a stack of slices: wrong shape, not finite, negative."""


class FormatError(InputError):
    """A file that is not what its name says, or is broken."""


class CohortError(InputError):
    """A cohort directory that is missing, incomplete or inconsistent."""


class IntensityError(InputError):
    """An intensity scale that is not a positive number, or counts outside it."""


class BundleError(InputError):
    """A released bundle that fails verification: a changed byte, a missing file, a newer schema."""


class RunError(InputError):
    """A training run that is missing, unfinished or unreadable."""


class ConfigurationError(InputError):
    """A setting that contradicts another, or is out of range."""


class QuantificationError(SynspectError):
    """A slice in which no brain outline can be found."""


class SimulationError(SynspectError):
    """A simulation that could not go on: a worker process that was killed."""


class TrainingError(SynspectError):
    """Training diverged, or its files could not be written."""


class DivergenceError(TrainingError):
    """Training left the path: values that are not finite, a discriminator that has won, slices that are alike."""


class ParityError(SynspectError):
    """The exported graph does not compute what the network computes."""


class RegistryError(SynspectError):
    """MLflow is unreachable, or does not hold what was asked for."""


class VersionError(RegistryError, InputError):
    """A version, or an alias, that was named and that the registry does not hold."""


class AddressError(RegistryError, InputError):
    """An address at which no registry could ever be: another scheme, a directory, a file that is no database."""


class PermissionDeniedError(RegistryError):
    """MLflow refuses the user what was asked, or this machine the address it asked by."""


class AdmissionError(RegistryError):
    """A champion that the policy does not admit: set by hand where it requires the gates."""


class FollowError(SynspectError):
    """A followed directory that cannot be kept: not writable, full, or kept by another process."""


class GateError(SynspectError):
    """A candidate failed a gate of the promotion policy."""


class ServiceError(SynspectError):
    """The service is unreachable, or answered with a problem."""


class IncompleteBatchError(ServiceError):
    """An answer that did not arrive whole: cut off on its way, damaged, or given up halfway by the service."""


class InvalidOutputError(SynspectError):
    """The generator produced counts that must not leave the service: not finite, out of range, constant."""

    def __init__(self, message: str, *, reason: str = "unknown", slices: int = 1) -> None:
        super().__init__(message)
        self.reason = reason  # a closed list: it labels a metric
        self.slices = slices  # how many were invalid


class DeviceError(SynspectError):
    """A GPU was required and is not what the session runs on."""


class InferenceError(SynspectError):
    """The generator's graph could not be run: no memory left, a device that went away."""


class StoreError(SynspectError):
    """The store of drift windows cannot be read or written."""
