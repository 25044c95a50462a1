"""Which figures a report holds; the only place that knows what may be shown of acquired scans.

Of acquired scans no single slice is drawn, neither the reference's nor a training one: means of a condition are.
"""

from registry.bundle.manifest import Manifest
from training.validation.figures.defects import draw_defect_maps, draw_defect_sizes
from training.validation.figures.equivalence import draw_equivalence
from training.validation.figures.plots import to_svg
from training.validation.figures.separability import draw_frequency_bands, draw_separability
from training.validation.figures.slices import (
    brightest_shown,
    draw_mean_slices_png,
    draw_measures,
    draw_nearest_png,
    draw_reference_png,
    draw_synthetic_png,
)
from training.validation.figures.territories import draw_territories
from training.validation.figures.variety import draw_component_spreads, draw_nearest_distances
from training.validation.panel import Validation

SIMULATED = "simulated"


def draw_figures(validation: Validation, manifest: Manifest) -> dict[str, bytes]:
    """Draw every figure that there is something for, by name: SVG, or PNG where it shows slices."""
    panel, comparison = validation.panel, validation.comparison
    unit = manifest.training_cohort.intensity_unit
    drawn = {
        "equivalence": draw_equivalence(panel),
        "measures": draw_measures(comparison, unit=unit),
        "separability": draw_separability(panel),
        "bands": draw_frequency_bands(panel, comparison),
        "defect_maps": draw_defect_maps(comparison),
        "defect_sizes": draw_defect_sizes(comparison),
        "territories": draw_territories(panel),
        "components": draw_component_spreads(comparison),
        "nearest_distances": draw_nearest_distances(comparison),
    }
    figures = {name: to_svg(figure) for name, figure in drawn.items() if figure is not None}
    brightest = brightest_shown(comparison.synthetic, comparison.reference)
    figures["synthetic"] = draw_synthetic_png(comparison.synthetic, unit=unit, max_counts=brightest)
    if panel.cohort_source == SIMULATED:
        figures["reference"] = draw_reference_png(
            comparison.reference, source=panel.cohort_source, unit=unit, max_counts=brightest
        )
    else:
        figures["means"] = draw_mean_slices_png(comparison, unit=unit, source=panel.cohort_source)
    nearest = draw_nearest_png(comparison) if manifest.training_cohort.source == SIMULATED else None
    return figures | ({"nearest": nearest} if nearest is not None else {})
