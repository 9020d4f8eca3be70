"""Ideas of the wider reading list that touch the length of a file, X1 to X8."""

from vdmcompress.lab.finding import Row

IDEA_ROWS: dict[str, Row] = {
    "X1": Row(
        "Expert denoisers by range of noise",
        "a shared denoiser split into specialists lowers the bound at equal steps (eDiff-I)",
        "ideas_training:x1", 25,
    ),
    "X2": Row(
        "Difficulty curriculum",
        "training from high noise to low reaches a bound in fewer steps (Kim et al.)",
        "ideas_training:x2", 10,
    ),
    "X3": Row(
        "Multivariate schedules: the cascade",
        "levels that differ by coefficient change the bound; coarse before fine saves bits at few steps",
        "ideas:x3", 2,
    ),
    "X4": Row(
        "Early cut of the diffusion",
        "a fitted prior or a closed form at high noise replaces steps (How Much is Enough; Outline First)",
        "ideas:x4", 1,
    ),
    "X5": Row(
        "Steps that are not Gaussian",
        "a categorical head makes a step exact for independent values, at any number of steps",
        "ideas:x5", 2,
    ),
    "X6": Row(
        "Coding order decides the initial bits",
        "bottom-up (Bit-Swap) borrows two levels, top-down all of them",
        "ideas:x6", 1,
    ),
    "X7": Row(
        "Bins may be coarse",
        "grids of a whole conditional standard deviation cost hundredths of a bit",
        "ideas:x7", 1,
    ),
    "X8": Row(
        "Learned variance first, placement second",
        "with few steps the variance of p gains most, the placement of steps next",
        "ideas:x8", 2,
    ),
}  # fmt: skip
