"""Texts that are difficult for tokenizers, and a generator of random texts."""

import random

TEXTS = [
    "",
    " ",
    "\t\r\n",
    "The quick brown fox jumps over the lazy dog.",
    "Don't; it's o'clock, rock'n'roll - we'll they've I'd I'M",
    # Accents: composed, decomposed, stacked, on their own, Turkish dots.
    "naïve café résumé Ångström Łódź ÆØÅ æøå ß ẞ straße STRASSE",
    "nai\u0308ve cafe\u0301 e\u0301\u0302\u0323 \u0301 a\u20dd",
    "İstanbul ISPARTA ıspanak İ i\u0307 I\u0307",
    "Việt Nam Tiếng Việt ở đây",
    # Sigma by position, Greek with iota subscript, polytonic.
    "ΟΔΥΣΣΕΥΣ Σ ΣΑΣ ΑΣ. ΑΣ1 σς ᾳ ᾼ ἀρχῇ Ὕβρις ͅ",
    # Case pairs that are not one to one.
    "ǅ ǆ Ǆ ŉ ﬁ ﬂ ﬃ ﬀ ﬅ ĳ Ĳ \u0149 \u1e9e \u2126 \u212a \u212b",
    # Compatibility characters that case folding would rewrite.
    "x² y³ ½ ¼ ª º ™ ℃ № ㎏ Ⅳ ⅳ ① Ⓐ ａｂｃ ＡＢＣ １２３ ！？ ﹏ ＿ ￥",
    # CJK, kana with marks, Hangul composed and not, extension B, compatibility ideographs.
    "我爱你。这部电影很好看!abc中文def",
    "日本語のテスト、ガギグゲゴ カ\u3099 ﾊﾟ ー々〆",
    "한국어 영화 \u1112\u1161\u11ab \uac01",
    "\U00020000\U0002a6d6 \uf900\ufa0e \u3400\u4dbf \u9fff",
    # Right to left, with marks and with controls.
    "مرحبا بالعالم السَّلَامُ عَلَيْكُمْ ـــ",
    "שָׁלוֹם עוֹלָם \u200fabc\u200e \u202eevil\u202c",
    # Indic: spacing and non-spacing marks, conjuncts with joiners.
    "हिन्दी क्षत्रिय क्\u200dष বাংলা தமிழ் తెలుగు മലയാളം සිංහල",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ ດີຫຼາຍ မြန်မာ ខ្មែរ བོད་སྐད",
    # Emoji: joined families, skin tones, flags, keycaps, variation selectors.
    "👨\u200d👩\u200d👧\u200d👦 👍🏽 🇩🇪 1\ufe0f\u20e3 ❤\ufe0f ☺ 🏴\U000e0067\U000e0062\U000e007f",
    "great😀movie 😂😂 :-) ¯\\_(ツ)_/¯",
    # Controls, zero width, soft hyphen, byte order mark, private use, noncharacters.
    "a\x00b\x01c\x07d\x08e\x0bf\x0cg\x1bh\x7fi\x80j\x85k\x9fl",
    "zero\u200bwidth\u200cnon\u200djoiner\u2060word\ufeffmark soft\u00adhyphen",
    "\ufeffbyte order mark",
    "private\ue000use \U000f0000\U0010fffd non\uffffchar \ufdd0 \ufffe \ufffd \U0010ffff",
    # Every kind of white space.
    "a\u00a0b\u1680c\u2000d\u2009e\u202ff\u205fg\u3000h\u2028i\u2029j\u180ek  l   m",
    " leading and trailing \n\n ",
    "line\r\nbreaks\rof\nall kinds\n",
    # Unassigned and recently assigned.
    "\u0378 \u0380 \u2fe0 \U0001fbfa \U000e1000 \u061d \u2e5d \U00010ec8 \U0001fae8 \u0897",
    "\U00016d40 \U00013d21's \U00010d50",
    # Punctuation: ASCII symbols, Unicode, what is no punctuation (modifier letters, currency).
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "“quoted” ‘single’ «guillemets» — dash – en … ¿qué? ¡no! ‽ ⸘ § ¶ † ‡ • ‰ ′ ″ ‹ ›",
    "´ ¨ ¸ ˆ ˜ ¬ ± × ÷ ≠ ≤ ∞ € £ ¥ ¢ ° © ® ʼ ˈ \u037e \u0387 \u1fef \u2260 \u226e",
    # Words at and past the reference's limit of 100 characters, in bytes of 1 to 4.
    "a" * 99 + " " + "a" * 100 + " " + "a" * 101,
    "é" * 100 + " " + "é" * 101 + " ก" + "ก" * 99 + " " + "ก" * 101,
    "𝒳" * 100 + " " + "𝒳" * 101 + " 한" + "한" * 33 + " " + "한" * 34 + " " + "한" * 50,
    "x" * 5000 + "." + "y" * 100,
    "e\u0301" * 100 + " " + "e\u0301" * 101 + " a" + "\u0301" * 300,
    # Text that looks like the tokenizer's own markers.
    "##ing ## # un##believable [unused0] [MASKED] [ SEP ] <s> </s> <pad> Ġthe Ċ",
    "http://example.com/?q=a&b=c#d user@example.org C:\\path\\file.txt 3.14e-10 1,000,000 $5.99",
    "snake_case camelCase kebab-case ALLCAPS MiXeD a1b2c3 2nd 90s COVID-19 C++ .NET",
]


def random_texts(count: int, *, seed: int = 0) -> list[str]:
    """Return short strings of characters from all of Unicode, with much ASCII and many marks."""
    generator = random.Random(seed)
    pools = [
        [chr(c) for c in range(128)],
        [chr(c) for c in range(0x80, 0x250)],
        [chr(c) for c in (*range(0x300, 0x370), 0x200B, 0x200D, 0xFE0F, 0xAD, 0x302E, 0x1D165)],
        [chr(c) for c in range(0x370, 0x3000)],
        [chr(c) for c in range(0x3000, 0xD800)],
        [chr(c) for c in range(0xE000, 0x10000)],
        [chr(c) for c in range(0x10000, 0x20000)],
        [" ", "\n", "the", "movie", "İ", "Σ", "'s", "'re"],
    ]
    return [
        "".join(
            generator.choice(generator.choice(pools)) for _ in range(generator.randrange(1, 24))
        )
        for _ in range(count)
    ]


def every_character() -> list[str]:
    """Return every Unicode scalar value."""
    return [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
