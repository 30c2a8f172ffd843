"""Trains the built-in model: the autoencoder, then text encoder and UNet together, in the diffusers layout.

Stages, in order: data, vae, latents, basis, unet, export, sample. `vae` and `unet` go on from their checkpoints.
Everything is written below `--work`; `work/out` is the finished model.
"""

import argparse
import json
import math
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

import scenes

ROOT = Path("work")
DATA = ROOT / "data"
OUT = ROOT / "out"


def _render(seed_count):
    seed, n = seed_count
    rng = np.random.default_rng(seed)
    ims, caps = [], []
    for _ in range(n):
        im, cap = scenes.draw(rng)
        ims.append((im * 255 + 0.5).astype(np.uint8))
        caps.append(cap)
    return np.stack(ims), caps


def make_data(count, workers=2):
    DATA.mkdir(parents=True, exist_ok=True)
    if (DATA / "images.npy").exists():
        return
    t0 = time.time()
    chunks = [(1000 + i, 100) for i in range(count // 100)]
    ims = np.lib.format.open_memmap(
        DATA / "images.npy", mode="w+", dtype=np.uint8, shape=(count, scenes.SIZE, scenes.SIZE, 3)
    )
    caps = []
    with ProcessPoolExecutor(workers) as ex:
        for k, (im, cap) in enumerate(ex.map(_render, chunks)):
            ims[k * 100 : (k + 1) * 100] = im
            caps += cap
    ims.flush()
    (DATA / "captions.json").write_text(json.dumps(caps))
    print("data", count, "images", round(time.time() - t0), "s", flush=True)


def make_tokenizer():
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    caps = json.loads((DATA / "captions.json").read_text())
    bos, eos = "<|startoftext|>", "<|endoftext|>"
    tok = Tokenizer(models.BPE(unk_token=eos, continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False))
    tok.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(
                    r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
                ),
                behavior="removed",
                invert=True,
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tr = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=[bos, eos],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tok.train_from_iterator(caps, tr)
    # every byte must also exist in its end-of-word form, as in CLIP's own vocabulary
    js = json.loads(tok.to_str())
    vocab, merges = js["model"]["vocab"], js["model"]["merges"]
    for ch in alphabet:
        if ch + "</w>" not in vocab:
            vocab[ch + "</w>"] = len(vocab)
    tok = Tokenizer.from_str(json.dumps(js))
    tok.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}", special_tokens=[(bos, vocab[bos]), (eos, vocab[eos])]
    )
    tok.decoder = decoders.ByteLevel()
    d = OUT / "tokenizer"
    d.mkdir(parents=True, exist_ok=True)
    tok.save(str(d / "tokenizer.json"))
    (d / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (d / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(" ".join(m) if isinstance(m, list) else m for m in merges) + "\n"
    )
    (d / "tokenizer_config.json").write_text(
        json.dumps(
            dict(
                tokenizer_class="CLIPTokenizer",
                bos_token=bos,
                eos_token=eos,
                pad_token=eos,
                unk_token=eos,
                model_max_length=77,
                do_lower_case=True,
                errors="replace",
            ),
            indent=2,
        )
    )
    (d / "special_tokens_map.json").write_text(
        json.dumps(dict(bos_token=bos, eos_token=eos, pad_token=eos, unk_token=eos), indent=2)
    )
    print(
        "tokenizer", len(vocab), "tokens; longest caption", max(len(tok.encode(c).ids) for c in caps[:3000]), flush=True
    )
    return tok


def encode_caps(tok, caps, length=77):
    eos = tok.token_to_id("<|endoftext|>")
    ids = np.full((len(caps), length), eos, np.int64)
    for i, c in enumerate(caps):
        e = tok.encode(c).ids[:length]
        ids[i, : len(e)] = e
    return torch.from_numpy(ids)


def new_vae():
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=scenes.SIZE,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        norm_num_groups=8,
    )


def train_vae(dev, minutes, batch, crop, lr):
    torch.manual_seed(0)
    ims = np.load(DATA / "images.npy", mmap_mode="r")
    vae = new_vae().to(dev)
    ck = ROOT / "vae.pt"
    if ck.exists():
        vae.load_state_dict(torch.load(ck)["model"])
    vae = vae.to(memory_format=torch.channels_last)
    print("vae params", sum(p.numel() for p in vae.parameters()), flush=True)
    opt = torch.optim.AdamW(vae.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=1e-4)
    ema = {k: v.detach().clone() for k, v in vae.state_dict().items()}
    rng = np.random.default_rng(int(time.time()))
    t0, step = time.time(), 0
    end = t0 + minutes * 60
    while time.time() < end:
        frac = (time.time() - t0) / (end - t0)
        for g in opt.param_groups:
            g["lr"] = lr * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * frac)) + 1e-5
        idx = rng.integers(0, len(ims), batch)
        if crop < scenes.SIZE:
            oy, ox = rng.integers(0, (scenes.SIZE - crop) // 8 + 1, 2) * 8
        else:
            oy = ox = 0
        x = (
            torch.from_numpy(np.stack([ims[i][oy : oy + crop, ox : ox + crop] for i in idx]))
            .to(dev)
            .permute(0, 3, 1, 2)
            .float()
            / 127.5
            - 1
        )
        if rng.random() < 0.5:
            x = x.flip(3)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(dev.type, torch.bfloat16):
            post = vae.encode(x).latent_dist
            z = post.mean + torch.exp(0.5 * post.logvar.clamp(-30, 20)) * torch.randn_like(post.mean)
            y = vae.decode(z).sample.float()
        kl = post.kl().float().mean() / (z.shape[1] * z.shape[2] * z.shape[3])
        dx = (y[..., 1:] - y[..., :-1]) - (x[..., 1:] - x[..., :-1])
        dy = (y[..., 1:, :] - y[..., :-1, :]) - (x[..., 1:, :] - x[..., :-1, :])
        l1, mse = (y - x).abs().mean(), ((y - x) ** 2).mean()
        loss = l1 + mse + 0.5 * (dx.abs().mean() + dy.abs().mean()) + 2e-4 * kl
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        opt.step()
        d = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            for k, v in vae.state_dict().items():
                ema[k].lerp_(v, 1 - d)
        if step % 100 == 0:
            psnr = 10 * math.log10(4 / mse.item())
            print(
                f"vae {step} {time.time() - t0:.0f}s loss {loss.item():.4f} "
                f"l1 {l1.item():.4f} psnr {psnr:.2f} kl {kl.item():.2f}",
                flush=True,
            )
            torch.save({"model": ema}, ck)
        step += 1
    torch.save({"model": ema}, ck)
    print("vae steps", step, flush=True)


def load_vae(dev):
    vae = new_vae()
    vae.load_state_dict(torch.load(ROOT / "vae.pt")["model"])
    return vae.to(dev).eval()


@torch.no_grad()
def encode_latents(dev, batch=16):
    if (DATA / "latents.npy").exists():
        return
    vae = load_vae(dev)
    ims = np.load(DATA / "images.npy", mmap_mode="r")
    out = []
    for i in range(0, len(ims), batch):
        x = torch.from_numpy(np.ascontiguousarray(ims[i : i + batch])).to(dev).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast(dev.type, torch.bfloat16):
            m = vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mean
        out.append(m.float().cpu().numpy().astype(np.float16))
    z = np.concatenate(out)
    np.save(DATA / "latents.npy", z)
    std = float(z.astype(np.float32).std())
    (DATA / "scale.json").write_text(
        json.dumps(
            {
                "scaling_factor": 1 / std,
                "mean": z.astype(np.float32).mean((0, 2, 3)).tolist(),
                "channel_std": z.astype(np.float32).std((0, 2, 3)).tolist(),
            }
        )
    )
    print("latents", z.shape, (DATA / "scale.json").read_text(), flush=True)


def fit_basis(count=400):
    """Least squares from scaled latents to RGB in [0, 1], both on the latent grid: the preview basis."""
    z = (
        np.load(DATA / "latents.npy", mmap_mode="r")[:count].astype(np.float32)
        * json.loads((DATA / "scale.json").read_text())["scaling_factor"]
    )
    im = np.load(DATA / "images.npy", mmap_mode="r")[:count].astype(np.float32) / 255
    n, c, h, w = z.shape
    y = im.reshape(n, h, 8, w, 8, 3).mean((2, 4)).reshape(-1, 3)
    x = np.concatenate([z.transpose(0, 2, 3, 1).reshape(-1, c), np.ones((n * h * w, 1), np.float32)], 1)
    sol, *_ = np.linalg.lstsq(x, y, rcond=None)
    rms = float(np.sqrt(((x @ sol - y) ** 2).mean()))
    (OUT / "preview_basis.json").write_text(
        json.dumps(
            {"rows": sol[:c].round(5).tolist(), "bias": sol[c].round(5).tolist(), "rms_error": round(rms, 4)}, indent=1
        )
    )
    print("basis rms error", round(rms, 4), flush=True)


def new_text_unet(vocab):
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    cfg = CLIPTextConfig(
        vocab_size=vocab,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        projection_dim=128,
    )
    text = CLIPTextModel(cfg)
    unet = UNet2DConditionModel(
        sample_size=scenes.SIZE // 8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(48, 96, 144),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    return text, unet


def train_unet(dev, minutes, batch, lr):
    from tokenizers import Tokenizer

    torch.manual_seed(0)
    tok = Tokenizer.from_file(str(OUT / "tokenizer" / "tokenizer.json"))
    caps = json.loads((DATA / "captions.json").read_text())
    ids = encode_caps(tok, caps)
    # No mirrored latents: the encoder is not symmetric, so the mirror of a latent is not that of its picture.
    z = torch.from_numpy(np.load(DATA / "latents.npy"))
    sf = json.loads((DATA / "scale.json").read_text())["scaling_factor"]
    empty = encode_caps(tok, [""])[0]
    text, unet = new_text_unet(tok.get_vocab_size())
    size = {name: sum(p.numel() for p in module.parameters()) for name, module in (("unet", unet), ("text", text))}
    print("parameters", size, flush=True)
    ck = ROOT / "unet.pt"
    models = torch.nn.ModuleDict({"text": text, "unet": unet}).to(dev)
    step0 = 0
    if ck.exists():
        s = torch.load(ck)
        models.load_state_dict(s["model"])
        step0 = s["step"]
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    ac = torch.cumprod(1 - betas, 0)
    snr = ac / (1 - ac)
    opt = torch.optim.AdamW(models.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=1e-2)
    if ck.exists() and "opt" in s:
        opt.load_state_dict(s["opt"])
    ema = {k: v.detach().clone().float() for k, v in (s["ema"] if ck.exists() else models.state_dict()).items()}
    t0, step = time.time(), 0
    end = t0 + minutes * 60
    run = None
    while time.time() < end:
        frac = (time.time() - t0) / (end - t0)
        cur = lr * min(1, (step0 + step + 1) / 300) * (1.0 if frac < 0.7 else 0.02 + 0.98 * (1 - frac) / 0.3)
        for g in opt.param_groups:
            g["lr"] = cur
        i = torch.randint(0, len(z), (batch,))
        x0 = (z[i].float() * sf).to(dev)
        tid = ids[i].clone()
        tid[torch.rand(batch) < 0.1] = empty
        t = torch.randint(0, 1000, (batch,))
        a = ac[t].view(-1, 1, 1, 1).to(dev)
        eps = torch.randn_like(x0)
        xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
        with torch.autocast(dev.type, torch.bfloat16):
            h = text(tid.to(dev)).last_hidden_state
            pred = unet(xt, t.to(dev), h).sample
        v = a.sqrt() * eps - (1 - a).sqrt() * x0
        w = (torch.clamp(snr[t], max=5.0) / (snr[t] + 1)).to(dev)
        loss = (((pred.float() - v) ** 2).mean((1, 2, 3)) * w).mean()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(models.parameters(), 1.0)
        opt.step()
        d = min(0.9995, (1 + step0 + step) / (10 + step0 + step))
        with torch.no_grad():
            for k, v in models.state_dict().items():
                if v.dtype.is_floating_point:
                    ema[k].lerp_(v.float(), 1 - d)
        run = loss.item() if run is None else 0.98 * run + 0.02 * loss.item()
        if step % 25 == 0:
            print(f"unet {step0 + step} {time.time() - t0:.0f}s loss {run:.4f} lr {cur:.2e}", flush=True)
        if step % 500 == 499:
            torch.save({"model": models.state_dict(), "ema": ema, "step": step0 + step, "opt": opt.state_dict()}, ck)
        step += 1
    torch.save({"model": models.state_dict(), "ema": ema, "step": step0 + step, "opt": opt.state_dict()}, ck)
    print("unet steps", step, flush=True)


def export(dtype=torch.float16):
    from diffusers import EulerDiscreteScheduler
    from tokenizers import Tokenizer

    tok = Tokenizer.from_file(str(OUT / "tokenizer" / "tokenizer.json"))
    sf = json.loads((DATA / "scale.json").read_text())["scaling_factor"]
    vae = load_vae(torch.device("cpu"))
    vae.register_to_config(scaling_factor=sf)
    text, unet = new_text_unet(tok.get_vocab_size())
    m = torch.nn.ModuleDict({"text": text, "unet": unet})
    ema = torch.load(ROOT / "unet.pt")["ema"]
    cur = m.state_dict()
    m.load_state_dict({k: ema[k].to(cur[k].dtype) if k in ema else cur[k] for k in cur})
    for name, mod in (("vae", vae), ("unet", unet), ("text_encoder", text)):
        mod.to(dtype).save_pretrained(OUT / name, safe_serialization=True)
    sch = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type="v_prediction",
        steps_offset=1,
        timestep_spacing="leading",
    )
    sch.save_pretrained(OUT / "scheduler")
    (OUT / "model_index.json").write_text(
        json.dumps(
            {
                "_class_name": "StableDiffusionPipeline",
                "_diffusers_version": "0.42.0",
                "scheduler": ["diffusers", "EulerDiscreteScheduler"],
                "text_encoder": ["transformers", "CLIPTextModel"],
                "tokenizer": ["transformers", "CLIPTokenizer"],
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderKL"],
                "feature_extractor": [None, None],
                "safety_checker": [None, None],
            },
            indent=2,
        )
    )
    size = sum(file.stat().st_size for file in OUT.rglob("*") if file.is_file())
    print(f"model {size / 1e6:.1f} MB", flush=True)


@torch.no_grad()
def sample(path, steps=25, cfg=4.0, seed=0):
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
    from PIL import Image
    from tokenizers import Tokenizer
    from transformers import CLIPTextModel

    tok = Tokenizer.from_file(str(OUT / "tokenizer" / "tokenizer.json"))
    vae = AutoencoderKL.from_pretrained(OUT / "vae").float()
    unet = UNet2DConditionModel.from_pretrained(OUT / "unet").float()
    text = CLIPTextModel.from_pretrained(OUT / "text_encoder").float()
    sch = EulerDiscreteScheduler.from_pretrained(OUT / "scheduler")
    prompts = [
        "a red hot air balloon over mountains at sunset",
        "a blue sailboat on the sea at noon",
        "a white house in green hills at night, a full moon in the sky",
        "snowy mountains on a clear day, clouds",
        "a green pine tree in snowy hills at dawn",
        "a yellow hot air balloon over the sea in the early morning, a sun in the sky",
        "desert dunes at sunset, a sun in the sky",
        "a purple sailboat on the sea at sunset",
        "a red house on desert dunes at noon",
        "a black hot air balloon over desert dunes at night",
    ]
    ids = encode_caps(tok, [""] * len(prompts) + prompts)
    h = text(ids).last_hidden_state
    g = torch.Generator().manual_seed(seed)
    sch.set_timesteps(steps)
    x = torch.randn(len(prompts), 4, 32, 32, generator=g) * sch.init_noise_sigma
    for t in sch.timesteps:
        inp = sch.scale_model_input(torch.cat([x, x]), t)
        e = unet(inp, t, h).sample
        u, c = e.chunk(2)
        x = sch.step(u + cfg * (c - u), t, x).prev_sample
    im = vae.decode(x / vae.config.scaling_factor).sample.clamp(-1, 1)
    im = ((im + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    Image.fromarray(np.concatenate([np.concatenate(list(im[:5]), 1), np.concatenate(list(im[5:]), 1)], 0)).save(path)


@torch.no_grad()
def vae_sample(path):
    from PIL import Image

    vae = load_vae(torch.device("cpu"))
    ims = np.load(DATA / "images.npy", mmap_mode="r")
    x = torch.from_numpy(np.ascontiguousarray(ims[:5])).permute(0, 3, 1, 2).float() / 127.5 - 1
    y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
    im = ((torch.cat([x, y]) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    Image.fromarray(np.concatenate([np.concatenate(list(im[:5]), 1), np.concatenate(list(im[5:]), 1)], 0)).save(path)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, default=ROOT, help="folder of data, checkpoints and the finished model")
    p.add_argument("what", choices=["data", "vae", "latents", "basis", "unet", "export", "sample", "vaesample"])
    p.add_argument("--count", type=int, default=20000)
    p.add_argument("--minutes", type=float, default=30)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--crop", type=int, default=128)
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--png", default="out.png")
    p.add_argument("--cfg", type=float, default=4.0)
    a = p.parse_args()
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ROOT = a.work
    DATA, OUT = ROOT / "data", ROOT / "out"
    OUT.mkdir(parents=True, exist_ok=True)
    if a.what == "data":
        make_data(a.count)
        make_tokenizer()
    elif a.what == "vae":
        train_vae(dev, a.minutes, a.batch, a.crop, a.lr)
    elif a.what == "latents":
        encode_latents(dev)
    elif a.what == "basis":
        fit_basis()
    elif a.what == "unet":
        train_unet(dev, a.minutes, a.batch, a.lr)
    elif a.what == "export":
        export()
    elif a.what == "sample":
        sample(a.png, cfg=a.cfg)
    elif a.what == "vaesample":
        vae_sample(a.png)
