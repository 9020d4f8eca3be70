"""The rows of "Demystifying Variational Diffusion Models" (Ribeiro and Glocker 2024), T1 to T6."""

from vdmcompress.lab.finding import Row

DEMYSTIFY_ROWS: dict[str, Row] = {
    "T1": Row(
        "Diffusion as a hierarchical latent-variable model",
        "one bound for hierarchies of latents scores a VAE and a diffusion model alike",
        "demystify:t1", 1,
    ),
    "T2": Row(
        "Top-down inference",
        "the posterior read top-down and the forward process have one joint; two coding orders, one net "
        "length",
        "demystify:t2", 5,
    ),
    "T3": Row(
        "Infinite depth",
        "continuous time is the limit of depth",
        "demystify:t3", 1,
    ),
    "T4": Row(
        "No posterior collapse",
        "the encoder is fixed, so that every level within the data's range carries bits",
        "demystify:t4", 1,
    ),
    "T5": Row(
        "Linear equivalence of outputs",
        "image, noise, score and velocity are linear in one another, their losses equal after weights",
        "demystify:t5", 1,
    ),
    "T6": Row(
        "A readable derivation",
        "the bound follows from hierarchical latents in a few equalities, each of which can be checked",
        "demystify:t6", 2,
    ),
}  # fmt: skip
