"""The scans of both cohorts: those a site cuts its tenth from, and those of patients never trained on; loaded once."""

from dataclasses import dataclass
from pathlib import Path

from study.arms import describe_training
from study.plan import Scale
from study.progress import StageProgress
from tenth.cut import Cut, build_tenth, count_smallest_level, cut_tenth, select_site
from tenth.results import MATRIX, TenthRecord

from cohort.store import Cohort, CohortDescription, load_cohort
from spect.errors import CohortError, ConfigurationError
from spect.slices import FIELD_MM, resample_to_matrix
from training.validation.panel import VALIDATION_SEED
from training.validation.pattern_classifier import LabelledSlices
from training.validation.sample import measure_sample
from training.validation.samples import FIELD_TOLERANCE_MM, FULL, select_reference

SLICES_A_SCORE = 2  # with fewer the basis of a level holds zeros: training.quantities.principal


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredScans:
    """Both in standard space, where the classifier sees them."""

    site: LabelledSlices
    judged: LabelledSlices


@dataclass(kw_only=True)
class Scans:
    """Slices of both cohorts; measuring them takes minutes, and is done when first asked for."""

    description: CohortDescription  # of the cohort that is cut
    site: Cohort  # its training and selection slices
    judged: Cohort  # patients never trained on
    test_fingerprint: str
    workers: int | None
    _measured: MeasuredScans | None = None

    def describe(self, scale: Scale, *, principal_scores: int, slices: int) -> TenthRecord:
        """Return what all seeds on them share."""
        return TenthRecord(
            scale=scale,
            principal_scores=principal_scores,
            slices=slices,
            training_fingerprint=self.description.fingerprint,
            training_source=self.description.source,
            training_simulator_version=self.description.simulator_version,
            test_fingerprint=self.test_fingerprint,
        )

    def measure(self, on_progress: StageProgress) -> MeasuredScans:
        """Measure both, or return what was measured before."""
        if self._measured is None:
            self._measured = MeasuredScans(
                site=self._measure(self.site, "measuring the site's scans", on_progress),
                judged=self._measure(self.judged, "measuring unseen scans", on_progress),
            )
        return self._measured

    def _measure(self, cohort: Cohort, stage: str, on_progress: StageProgress) -> LabelledSlices:
        done = 0

        def count(slices: int) -> None:
            nonlocal done
            done += slices
            on_progress(stage, done, len(cohort))

        on_progress(stage, 0, len(cohort))
        sample = measure_sample(
            resample_to_matrix(cohort.counts, MATRIX),
            condition_index=cohort.condition_index,
            patient=cohort.patient,
            pixel_spacing_mm=FIELD_MM / MATRIX,
            workers=self.workers,
            on_progress=count,
        )
        return LabelledSlices.of(sample)


def load_scans(train: Path, test: Path, *, workers: int | None) -> Scans:
    """Load both cohorts; raise `CohortError` where nothing can be learnt from the one or judged on the other."""
    training, tested = load_cohort(train), load_cohort(test)
    for path, cohort in ((train, training), (test, tested)):
        _check_field(path, cohort)
    judged = select_reference(
        tested, trained_on=describe_training(training), training=training, numbers=FULL, seed=VALIDATION_SEED
    )
    site = select_site(training)
    missing = [str(condition) for condition in site.conditions() if condition not in judged.conditions()]
    if missing:
        raise CohortError(f"{test} has no slices of {', '.join(missing)} to judge on; use a cohort that has")
    return Scans(
        description=training.description,
        site=site,
        judged=judged,
        test_fingerprint=tested.description.fingerprint,
        workers=workers,
    )


def _check_field(path: Path, cohort: Cohort) -> None:
    field_mm = cohort.matrix * cohort.description.pixel_spacing_mm
    if abs(field_mm - FIELD_MM) > FIELD_TOLERANCE_MM or cohort.matrix < MATRIX:
        raise CohortError(
            f"{path} has {cohort.matrix} pixels over {field_mm:g} mm, needed are {MATRIX} over {FIELD_MM:g} mm; "
            "simulate or import it so"
        )


def plan_tenth(scans: Scans, record: TenthRecord, seed: int) -> tuple[Cut, Cohort]:
    """Cut a seed's tenth; raise `ConfigurationError` where it is too small for the principal scores asked for."""
    cut = cut_tenth(scans.site, seed)
    tenth = build_tenth(scans.site, cut, seed)
    smallest, needed = count_smallest_level(tenth), record.principal_scores * SLICES_A_SCORE
    if needed > smallest:
        raise ConfigurationError(
            f"seed {seed} leaves a level {smallest} training slices, {record.principal_scores} principal scores need "
            f"{needed}; lower --principal-scores"
        )
    return cut, tenth
