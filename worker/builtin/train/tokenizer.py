"""A byte-level BPE in CLIP's own layout, learnt from the captions, and captions as token ids."""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from .networks import TOKENS
from .progress import say
from .scenes import store
from .work import Work

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_VOCABULARY = 960
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def run(work: Work):
    folder = work.model / "tokenizer"
    texts = [text for bucket in store.buckets(work.data, "train") for texts in bucket.captions for text, _ in texts]
    if not texts:
        raise SystemExit("No captions: run the stage scenes first.")
    if (folder / "tokenizer.json").exists():
        # The text encoder's embeddings belong to this vocabulary, so it is never made anew.
        tokenizer = load(work)
        say("tokenizer: complete,", tokenizer.get_vocab_size(), "tokens")
        return
    tokenizer = _train(texts)
    _write(tokenizer, folder)
    longest = max(len(tokenizer.encode(text).ids) for text in texts[:4000])
    say("tokenizer:", tokenizer.get_vocab_size(), "tokens; longest caption", longest)
    work.record("tokenizer", tokens=tokenizer.get_vocab_size(), captions=len(texts), longest=longest)


def load(work: Work) -> Tokenizer:
    path = work.model / "tokenizer" / "tokenizer.json"
    if not path.exists():
        raise SystemExit(f"{path} is missing: run the stage tokenizer first.")
    return Tokenizer.from_file(str(path))


def encode(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    """`[n, 77]` i64, padded with the end token as CLIP does."""
    ids = np.full((len(texts), TOKENS), tokenizer.token_to_id(EOS), np.int64)
    for row, encoding in zip(ids, tokenizer.encode_batch(texts), strict=True):
        found = encoding.ids[:TOKENS]
        row[: len(found)] = found
        row[-1] = tokenizer.token_to_id(EOS)
    return torch.from_numpy(ids)


def _train(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(
        models.BPE(unk_token=EOS, continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[BOS, EOS],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Every byte must also exist in its end-of-word form, as in CLIP's own vocabulary.
    layout = json.loads(tokenizer.to_str())
    vocabulary = layout["model"]["vocab"]
    for character in alphabet:
        vocabulary.setdefault(character + "</w>", len(vocabulary))
    tokenizer = Tokenizer.from_str(json.dumps(layout))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}", special_tokens=[(BOS, vocabulary[BOS]), (EOS, vocabulary[EOS])]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _write(tokenizer: Tokenizer, folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]]
    special = {"bos_token": BOS, "eos_token": EOS, "pad_token": EOS, "unk_token": EOS}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        **special,
        "model_max_length": TOKENS,
        "do_lower_case": True,
        "errors": "replace",
    }
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2))
    tokenizer.save(str(folder / "tokenizer.json"))
