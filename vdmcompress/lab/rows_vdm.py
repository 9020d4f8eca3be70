"""The rows of "Variational Diffusion Models" (Kingma et al. 2021), V1 to V17 and V19."""

from vdmcompress.lab.finding import Row

VDM_ROWS: dict[str, Row] = {
    "V1": Row(
        "Gaussian process by log-SNR",
        "one monotone function gamma(t) fixes the whole forward process",
        "vdm_process:v1", 1,
    ),
    "V2": Row(
        "Reverse conditional from a noise predictor",
        "a step's KL is half of expm1(gamma_t - gamma_s) times the squared error of the noise",
        "vdm_process:v2", 1,
    ),
    "V3": Row(
        "Discrete-time VLB",
        "prior, reconstruction and T steps; a random step estimates the sum; the bound falls as T doubles",
        "vdm_bound:v3", 8,
    ),
    "V4": Row(
        "Continuous-time VLB",
        "the discrete bound tends to half of the integral of gamma' times the squared error",
        "vdm_bound:v4", 6,
    ),
    "V5": Row(
        "The loss as an integral over SNR",
        "integrating over gamma, over SNR and over t gives one number",
        "vdm_bound:v5", 1,
    ),
    "V6": Row(
        "Invariance to the schedule",
        "in continuous time only the SNR at the ends matters",
        "vdm_bound:v6", 5,
    ),
    "V7": Row(
        "Learned end points",
        "gamma_0 and gamma_1 trained on the bound leave a poor start and lower it",
        "vdm_schedule:v7", 4,
    ),
    "V8": Row(
        "Learned interior",
        "trained on the estimator's variance, the inside of the schedule lowers it and keeps the mean",
        "vdm_schedule:v8", 18,
    ),
    "V9": Row(
        "Faster optimisation",
        "the lower variance trains faster",
        "vdm_training:v9", 400, ("images",),
    ),
    "V10": Row(
        "Fourier features",
        "sines of z at two high frequencies lower the bound, at low noise",
        "vdm_training:v10", 200, ("images",),
    ),
    "V11": Row(
        "Low-discrepancy times",
        "one offset and an even grid over the batch lower the variance of the loss at equal mean",
        "vdm_schedule:v11", 2,
    ),
    "V12": Row(
        "Stable numerics",
        "expm1 and sigmoids of plus and minus gamma make float32 as good as float64",
        "vdm_process:v12", 2,
    ),
    "V13": Row(
        "Discrete decoder",
        "softmax over 256 levels by the distance to z_0, without a network",
        "vdm_process:v13", 1,
    ),
    "V14": Row(
        "Bits-back coding",
        "the chain of latents codes an image in the length of its bound",
        "vdm_coding:v14", 60,
    ),
    "V15": Row(
        "Rate against T_eval",
        "the net rate falls with the number of steps and follows the bound",
        "vdm_coding:v15", 600, ("images",),
    ),
    "V16": Row(
        "Discrete or continuous training",
        "training at the T used wins at small T and ties at large T",
        "vdm_training:v16", 120, ("images",),
    ),
    "V17": Row(
        "Equivalence of models",
        "processes that share the SNR at the ends are one model up to a rescaling of z and t",
        "vdm_bound:v17", 1,
    ),
    "V19": Row(
        "Ancestral sampling",
        "running p down from N(0, I) gives samples with the statistics of the data",
        "vdm_coding:v19", 60,
    ),
}  # fmt: skip
