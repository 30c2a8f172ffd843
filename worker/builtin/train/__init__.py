"""Trains the built-in model: text encoder, UNet, autoencoder and preview decoder, in the diffusers layout.

`python -m train STAGE --work-dir W`, from the folder above this one; `all` runs every stage in this order.

| stage | module | leaves in the work dir |
|---|---|---|
| scenes | `pictures` | `data/`: pictures, labels, captions |
| tokenizer | `tokenizer` | `model/tokenizer/` |
| vae | `vae` | `vae.pt` |
| latents | `latents` | `latents/`, one file per picture size, and `scale.json` |
| text | `text` | `text.pt`: the text encoder |
| layout | `layout` | `layout.pt`: the UNet after its lessons on pictures of half the size |
| unet | `unet` | `unet.pt`: text encoder and UNet |
| decoder | `decoder` | `decoder.pt`: the autoencoder's decoder, trained on |
| basis | `basis` | `model/preview_basis.json` |
| preview | `preview` | `preview.pt` |
| export | `export` | `model/`: the finished folder, f16 |
| judge | `judge` | `judge.pt` |
| evaluate | `evaluate` | `evaluation.json`, sheets |

| module | what the stages share |
|---|---|
| `scenes/` | the procedural landscapes and their captions |
| `networks` | the shapes of all networks |
| `norm`, `fused` | GroupNorm on CPUs; with `norm.c`, what makes a step fast on those that multiply bf16 in tiles |
| `trainer`, `muon` | the loop: optimizers, average, learning rate, time box, checkpoints, several processes |
| `dataset`, `sampling`, `prompts`, `sheets` | captions as tensors, drawing, the README's prompts, pictures on disk |
| `work`, `progress` | the work dir and its record, the lines that are printed |

A stage that finds its result complete returns at once; one that finds a checkpoint goes on from it.
"""
