"""The rows of "Improved Denoising Diffusion Probabilistic Models" (Nichol and Dhariwal 2021), I1 to I10."""

from vdmcompress.lab.finding import Row

IDDPM_ROWS: dict[str, Row] = {
    "I1": Row(
        "Learned reverse variance",
        "a learned variance is below both fixed ends at every number of steps, most at few",
        "iddpm_training:i1", 12,
    ),
    "I2": Row(
        "The hybrid loss",
        "L_simple trains the mean, the bound the variance only: same mean gradient, lower bound",
        "iddpm_training:i2", 12,
    ),
    "I3": Row(
        "Cosine schedule",
        "cos^2 with offset 0.008 spends its steps better than linear betas at 32x32",
        "iddpm:i3", 2,
    ),
    "I5": Row(
        "The bound's gradients are noisier",
        "the gradient of L_vlb is noisier than that of L_hybrid",
        "iddpm_training:i5", 10,
    ),
    "I6": Row(
        "Importance-sampled bound",
        "times drawn by the root mean square of their loss keep the mean and lower the noise",
        "iddpm_training:i6", 25,
    ),
    "I7": Row(
        "Strided steps",
        "K of T steps with betas recomputed are a K-step process with the same SNRs",
        "iddpm:i7", 1,
    ),
    "I8": Row(
        "The best steps are not even steps",
        "steps chosen by dynamic programming beat even steps at every K",
        "iddpm:i8", 1,
    ),
    "I9": Row(
        "A hundred steps",
        "with learned variances and chosen steps 100 steps come close to 1000",
        "iddpm:i9", 2,
    ),
    "I10": Row(
        "Averaged weights and over-fitting",
        "averaged weights score better than raw ones; small training sets are over-fitted",
        "iddpm_training:i10", 15,
    ),
}  # fmt: skip
