"""P values of the reference study's abstract: Werner et al., Sci Rep 2022;12:18787."""

from spect.conditions import Pattern

# Its dataset A (all levels) and B (cortex only) against its own training images; which test is not stated.
MEAN_COUNTS_P_A = {Pattern.NORMAL: "0.8", Pattern.UNILATERAL: "0.99", Pattern.BILATERAL: "0.68"}
MEAN_COUNTS_P_B = {Pattern.NORMAL: "< 0.0001", Pattern.UNILATERAL: "0.77", Pattern.BILATERAL: "< 0.0001"}
LEFT_RIGHT_P_A = {Pattern.NORMAL: ">= 0.08", Pattern.UNILATERAL: "0.03", Pattern.BILATERAL: ">= 0.08"}
LEFT_RIGHT_P_B = {Pattern.NORMAL: "<= 0.01", Pattern.UNILATERAL: "<= 0.01", Pattern.BILATERAL: "<= 0.01"}
