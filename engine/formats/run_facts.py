"""What a training run was, as plain data: the source of the metadata inside an adapter file. Knows no config model."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunFacts:
    """Everything the metadata of an adapter states. None means "not set", as Kohya's trainer has it.

    Attributes:
        name: the adapter's name, without ending.
        base_version: Kohya's word for the family: "sd_v1", "sd_v2", "sd_v2_v", "sdxl_base_v1-0".
        architecture: the model card's word for it (`modelspec.architecture`).
        base_name: file or folder name of the checkpoint; a path is reduced to its last part.
        network_dim, network_alpha: "Dynamic" where modules differ.
        network_args: options of the algorithm (`conv_dim`, `conv_alpha`, ...).
        optimizer: `module.Class(argument=value,...)`.
        started_at, finished_at: seconds since 1970.
        resolution, min_bucket, max_bucket: px.
        dataset_dirs: folder base name -> {"n_repeats": int, "img_count": int}; `reg_dataset_dirs` likewise.
        tag_frequency: folder base name -> tag -> pictures, see `tag_frequency`.
        bucket_info: {"buckets": {"0": {"resolution": [w, h], "count": n}}, "mean_img_ar_error": x}, or None.
        num_train_images: pictures times repeats, per epoch.
        prediction_type: "epsilon" or "v"; None for flow matching.
        vae_name, vae_hash, vae_sha256: of a VAE put in place of the checkpoint's own.
        merged_from: names of the adapters it was merged from, with commas.
        thumbnail: cover picture as a data URL, see `engine.formats.cover`.
        extra: further `ss_*` values, names without the prefix.
    """

    name: str
    base_name: str
    base_version: str = "sd_v1"
    architecture: str = "stable-diffusion-v1/lora"
    base_hash: str | None = None
    base_sha256: str | None = None
    v2: bool = False
    prediction_type: str | None = "epsilon"
    vae_name: str | None = None
    vae_hash: str | None = None
    vae_sha256: str | None = None

    network_module: str = "networks.lora"
    network_dim: int | str | None = None
    network_alpha: float | str | None = None
    network_dropout: float | None = None
    network_args: dict[str, object] = field(default_factory=dict)
    scale_weight_norms: float | None = None

    session_id: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    seed: int = 0
    epoch: int = 0
    num_epochs: int = 0
    steps: int = 0
    max_train_steps: int = 0
    num_train_images: int = 0
    num_validation_images: int = 0
    num_reg_images: int = 0
    num_batches_per_epoch: int = 0
    batch_size: int = 1
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    mixed_precision: str = "no"
    full_fp16: bool = False
    fp8_base: bool = False
    lowram: bool = False
    cache_latents: bool = True

    learning_rate: float | None = None
    unet_lr: float | None = None
    text_encoder_lr: float | None = None
    optimizer: str = ""
    lr_scheduler: str = "constant"
    lr_warmup_steps: int = 0
    max_grad_norm: float | None = None

    clip_skip: int | None = None
    max_token_length: int | None = None
    loss_type: str = "l2"
    huber_schedule: str | None = None
    huber_c: float | None = None
    huber_scale: float | None = None
    min_snr_gamma: float | None = None
    debiased_estimation: bool = False
    zero_terminal_snr: bool = False
    noise_offset: float | None = None
    noise_offset_random_strength: bool = False
    adaptive_noise_scale: float | None = None
    multires_noise_iterations: int | None = None
    multires_noise_discount: float | None = None
    ip_noise_gamma: float | None = None
    ip_noise_gamma_random_strength: bool = False
    prior_loss_weight: float | None = None

    resolution: tuple[int, int] = (512, 512)
    enable_bucket: bool = True
    bucket_no_upscale: bool = False
    min_bucket: int | None = None
    max_bucket: int | None = None
    bucket_info: dict[str, object] | None = None
    resize_interpolation: str | None = None
    flip_aug: bool = False
    color_aug: bool = False
    random_crop: bool = False
    face_crop_aug_range: tuple[float, float] | None = None
    shuffle_caption: bool = False
    keep_tokens: int = 0
    caption_dropout_rate: float = 0.0
    caption_dropout_every_n_epochs: int = 0
    caption_tag_dropout_rate: float = 0.0
    dataset_dirs: dict[str, dict[str, int]] = field(default_factory=dict)
    reg_dataset_dirs: dict[str, dict[str, int]] = field(default_factory=dict)
    tag_frequency: dict[str, dict[str, int]] = field(default_factory=dict)

    trigger: str = ""
    title: str = ""
    author: str = ""
    description: str = ""
    license: str = ""
    tags: str = ""
    usage_hint: str = ""
    merged_from: str = ""
    thumbnail: str = ""
    comment: str | None = None
    extra: dict[str, object] = field(default_factory=dict)
