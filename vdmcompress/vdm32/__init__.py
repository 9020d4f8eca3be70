"""The isotropic variational diffusion model of the papers, on small images, in float.

It is the research model: what the papers claim is shown with it. Its network is float, so its bits are
decoded in the process that made them and never written to a file.

    schedule          gamma(t), fixed and learned           times      which t a training batch draws
    process           q and p of a step                     variance   the variance of p
    decoder           p(x | z_0)                            steps      which levels a chain visits
    denoiser          the network                           ancestral  sampling
    parameterisation  noise, image, score, velocity         coding     bits-back through `codec`
    objective         the bound and its weightings          train      training; `data`, `checkpoint`
    toys              exact denoisers of analytic models
"""
