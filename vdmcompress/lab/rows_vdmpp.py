"""The rows of "Understanding Diffusion Objectives as the ELBO" (Kingma and Gao 2023), W1 to W5."""

from vdmcompress.lab.finding import Row

VDMPP_ROWS: dict[str, Row] = {
    "W1": Row(
        "The common weighted form",
        "every usual objective is half of the integral of w(lambda) times the squared error of the noise",
        "vdmpp:w1", 1,
    ),
    "W2": Row(
        "A weighted loss is a mixture of ELBOs",
        "the weighted loss is the sum of the ELBOs of noisy data with the increments of w as weights",
        "vdmpp:w2", 1,
    ),
    "W3": Row(
        "A monotone weighting is the ELBO of augmented data",
        "if w does not rise with lambda, adding noise to the data and scoring by the ELBO is the same loss",
        "vdmpp:w3", 1,
    ),
    "W4": Row(
        "Monotone weightings, scored by the bound",
        "other weightings suit samples; for the bound the uniform weighting should win or tie",
        "vdmpp_training:w4", 25,
    ),
    "W5": Row(
        "Adaptive noise schedule",
        "noise levels drawn in proportion to a running mean of the loss lower its variance",
        "vdmpp_training:w5", 20,
    ),
}  # fmt: skip
