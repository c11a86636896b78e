"""Writes Tests/Golden/tokenizers: small tokenizers trained by Hugging Face's library, and the ids it gives to samples.

Run at the root of the repository, with the `tokenizers` package installed (0.23.3 made what is committed):

    python Tools/tokenizer_golden.py

`NAME.json` is the tokenizer as the library saves it, `NAME.ids.json` the ids of each text of `samples.json`, with added
tokens matched. `trained.json` pins the trainer: what the library learns from `corpus.txt`.
"""

import json
import pathlib
import random
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FOLDER = pathlib.Path("Tests/Golden/tokenizers")
GLM = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = GLM.replace("{1,3}", "")

PROSE = """\
The tokenizer cuts text into pieces, and merges never cross from one piece to the next. It's plain work, but it isn't
simple: we'll see numbers such as 1, 22, 333, 4444 and 1234567.89, dates like 2026-11-23, and words they've, I'm, you'd.
El veloz murciélago hindú comía feliz cardillo y kiwi. La cigüeña tocaba el saxofón detrás del palenque de paja.
Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Füße, Straße, Maß; »Anführung« und „Zitat“.
Voix ambiguë d'un cœur qui, au zéphyr, préfère les jattes de kiwis. L'été, c'était déjà là-bas.
Съешь же ещё этих мягких французских булок, да выпей чаю. Широкая электрификация южных губерний.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Γαζέες καὶ μυρτιὲς δὲν θὰ βρῶ πιὰ στὸ χρυσαφὶ ξέφωτο.
天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。人工智能模型可以理解和生成自然语言。今天天气很好，我们去公园散步吧！
いろはにほへと ちりぬるを わかよたれそ つねならむ。東京都の人口は約1400万人です。カタカナも使います。
키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. 안녕하세요, 반갑습니다.
نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ومغلف بجلد أزرق. السعر ١٢٣٤ دينار.
דג סקרן שט בים מאוכזב ולפתע מצא חברה. שלום עולם.
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले विष्णुवतार भगवान श्रीराम। संख्या १२३४।
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน
Do bạch kim rất quý nên sẽ dùng để lắp vô xương. Trăm năm trong cõi người ta.
"""
CODE = """\
func merge(_ left: Int32, _ right: Int32) -> UInt64 {
    // The pair as one key.
    let key = UInt64(left) << 32 | UInt64(right)
\treturn table[key] ?? .max
}

def fibonacci(n: int) -> list[int]:
    values = [0, 1]
    while len(values) < n:
        values.append(values[-1] + values[-2])
    return values[:n]


if __name__ == "__main__":
    print(fibonacci(10), 0xFF, 1e-9, 3.14159)

#include <stdint.h>
static inline uint32_t rotate(uint32_t x, int k) { return (x << k) | (x >> (32 - k)); }
for (int i = 0; i < 1000; ++i) { sum += a[i] * b[i]; /* dot */ }

{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3, "opts": [1, true, null]}}
<div class="note"><p>Hello, <b>world</b>!</p></div>
SELECT id, COUNT(*) FROM tokens WHERE id >= 256 GROUP BY id ORDER BY 2 DESC;
$ git commit -m "Say why" && git push origin main 2>/dev/null || exit 1
"""
CORPUS = PROSE + CODE

ADDED = [
    AddedToken("<|endoftext|>", special=True),
    AddedToken("[gMASK]", special=True),
    AddedToken("<sop>", special=True),
    AddedToken("<|user|>", special=True),
    AddedToken("<|user", special=True),
    AddedToken("<think>", special=False, normalized=False),
    AddedToken("</think>", special=False, normalized=False),
    AddedToken("/nothink", special=False, normalized=True),
    AddedToken("<left>", special=True, lstrip=True),
    AddedToken("<right>", special=True, rstrip=True),
    AddedToken("word", special=False, single_word=True, normalized=True),
    AddedToken("<é>", special=False, normalized=True),
]


def samples():
    texts = ["", " ", "a", "\n", "\r\n", "'", "'s", "  ", "\t\t", "\0"]
    texts += PROSE.split("\n") + [PROSE, CODE, CODE.replace("\n", "\r\n"), CODE.replace("    ", "\t")]
    texts += ["I'll I'LL i'Ll it'ſ IT'S we'RE they'vE 'twas 'Tis d'd o'mm 's't'm ' s", "1234567890 12 345 6789 ½ ²³ Ⅷ ٣٤٥٦ १२३४५ ㊿㊿㊿㊿"]
    texts += [" " * n for n in (2, 3, 7, 64, 1000)] + ["a" * 3000, "\n" * 500, "-" * 777, "ab" * 500]
    texts += ["x" + " " * n + "y" + "\n" * n + " " * n + "z\t \t" for n in range(1, 6)]
    texts += ["a\u00a0b \u00a0 c\u00a0\u00a0d", "a\u2028b\u2029c\u0085d\u1680e\u2003 f\u202fg\u205fh\u3000\u3000i", "\ufeffbom\u200bzero\u200cwidth\u200djoin"]
    texts += ["\x1c\x1d\x1e\x1f\x7f\x80\x9f", "a\x0bb\x0cc \x0b d", "line\rreturn\r\rmore\n\r end \r\n \n x"]
    texts += ["👨‍👩‍👧‍👦 👍🏽 🇩🇪🇯🇵 ❤️‍🔥 🏴󠁧󠁢󠁥󠁮󠁧󠁿 1️⃣ 😀😀😀", "e\u0301 a\u0308\u0301 n\u0303 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘"]
    texts += ["\u1112\u1161\u11ab\uac00\u11a8 \u0958 \u2126 \u212b \u0f73\u0f73 \u0344 \ufb1f \u0340", "ﬁ ﬃ ſt ß ẞ İ ı ǆ ǅ ª º ʰ ⅷ 𝔘𝔫𝔦 𐍈𐍉 𒀀 𓀀 𠀀𪛖 \U0003134a"]
    texts += ["\U0010ffff\ufffe\ue000\U000f0000 \ud7ff\u0378", "math ∑∫√≤≥≠ x² + y² = z², €100 £5 ¥9 ₿", "«» “” ‘’ … — – ‐ ‑ ° § ¶ † ‡ • ©®™"]
    texts += ["[gMASK]<sop><|user|>Hi <think>x</think>/nothink<|endoftext|>", "<|user|<|user|>|><|user||>", "a <left> b  <left><left>", "a <right>  b<right>\n\n<right> ", "word swords word. _word word1 (word) wordé word", "<é><e\u0301>", " <|user|> <think> \n<think>\n "]
    draw = random.Random(5)
    parts = list("abzAZsStTdDmMlLrReEvV'''   \t\n\r\n019 -_.,/<>[]|") + ["é", "e\u0301", "Ж", "中", "か", "한", "\u1100\u1161", "ע", "ก", "\u00a0", "\u3000", "\u0085", "ſ", "²", "٣", "😀", "\u200d", "́", "<think>", "word", "<left>", "<right>", "[gMASK]", "/nothink"]
    texts += ["".join(draw.choice(parts) for _ in range(draw.randint(1, 60))) for _ in range(400)]
    assigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cs", "Cn", "Co")]
    texts += ["".join(chr(draw.choice(assigned)) + draw.choice(["", "", " ", "a", "1", "\n"]) for _ in range(40)) for _ in range(60)]
    return texts


def byte_level(kind):
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind in ("glm", "llama3")))
    if kind.startswith("gpt2"):
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "gpt2-prefix")
    else:
        split = pre_tokenizers.Split(Regex(QWEN2 if kind == "qwen2" else GLM), "isolated")
        last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, last])
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def learn(tokenizer, texts, size):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )


def write(name, value):
    # One text or one list of ids a line.
    lines = ",\n".join(json.dumps(item, ensure_ascii=True, separators=(",", ":")) for item in value)
    (FOLDER / name).write_text(f"[\n{lines}\n]\n", encoding="utf-8")


FOLDER.mkdir(parents=True, exist_ok=True)
texts = samples()
write("samples.json", texts)
for kind, size in {"glm": 1200, "llama3": 1000, "qwen2": 1000, "gpt2": 1000, "gpt2-prefix": 700}.items():
    tokenizer = byte_level(kind)
    learn(tokenizer, [CORPUS], size)
    if kind == "llama3":
        tokenizer.add_special_tokens(["<|begin_of_text|>"])
        begin = tokenizer.token_to_id("<|begin_of_text|>")
        template = processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="$A $B", special_tokens=[("<|begin_of_text|>", begin)]
        )
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    else:
        tokenizer.add_tokens(ADDED)
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.save(str(FOLDER / f"{kind}.json"))
    write(f"{kind}.ids.json", [tokenizer.encode(text, add_special_tokens=False).ids for text in texts])

# The trainer: runs of one letter are where equal tokens arise from different halves.
runs = "".join("-" * (n % 23) + " " + "=" * (n % 17) + "aab" * (n % 5) + "\n" for n in range(400))
corpus = CORPUS + runs
(FOLDER / "corpus.txt").write_text(corpus, encoding="utf-8", newline="")
tokenizer = byte_level("glm")
learn(tokenizer, [corpus], 256 + 900)
model = json.loads(tokenizer.to_str())["model"]
write("trained.json", [list(model["vocab"]), model["merges"]])
