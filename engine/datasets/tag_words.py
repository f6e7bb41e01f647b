"""Words that give away what a tag is about: traits of a body, clothes, postures, styles. Tables only.

The words are those of booru tags, which taggers write, and of Japanese captions. What changes from picture to picture
though it names a trait (closed eyes, wet hair, a hand in one's hair) is not a trait.
"""

from __future__ import annotations

import re
from typing import Literal

from engine.config.train import Kind

Reason = Literal[
    "hair", "eyes", "ears", "tail", "skin", "horns", "wings", "face", "body", "creature", "clothing", "pose", "medium", "style"
]  # fmt: skip
"""What a tag says of the concept; the page has a sentence for each."""
WORDS = 4
"""Longer tags are sentences."""

_PASSING = (
    "closed|half-closed|wide-eyed|rolling|crying|empty|wet|messy|floating|flowing|drooping|raised|lifted|open|torn|unworn|"
    "adjusting|holding|grabbing|pulling|touching|playing|brushing|covering|wearing|removing|taking|hand|hands|arm|arms|over|"
    "covered|between|behind|through|one eye|own|another's|fake|ornament|blush|with|of|no|without"
)


def _ending(english: str, japanese: str) -> re.Pattern[str]:
    """Tags whose last word is one of these, as in `long blonde hair`, and that name nothing of passing."""
    return re.compile(rf"(?!.*\b(?:{_PASSING})\b)(?:.*[ -])?(?:{english})|.*(?:{japanese})")


def _whole(english: str, japanese: str) -> re.Pattern[str]:
    """Tags that are just this."""
    return re.compile(rf"{english}|.*(?:{japanese})")


_BODY: dict[Reason, re.Pattern[str]] = {
    "hair": _ending(
        "hair|haired|ponytail|twintails|pigtails|braids?|bangs|ahoge|sidelocks|fringe|bob cut|hime cut|pixie cut|hair bun|afro|"
        "dreadlocks|mohawk|bald",
        "髪|髪型|ポニーテール|ツインテール|三つ編み|アホ毛|ショートヘア|ロングヘア",
    ),
    "eyes": _ending("eyes|eyed|pupils|heterochromia|sclera|eyelashes|tsurime|tareme", "瞳|い目|色の目|オッドアイ|つり目|たれ目"),
    "ears": _ending("ears|eared", "耳"),
    "tail": _ending("tails?|tailed", "尻尾|しっぽ"),
    "skin": _ending(
        "skin|skinned|skinned (?:fe)?male|fur|furry|scales|feathers|freckles|tan|tattoo|scar|markings?",
        "肌|そばかす|毛並み|鱗|うろこ",
    ),
    "horns": _ending("horns?|horned|antlers", "角|ツノ"),
    "wings": _ending("wings?|winged", "翼|羽|羽根"),
    "face": _ending(
        "fangs?|beard|mustache|facial hair|mole|mole under (?:eye|mouth)|eyebrows|nose|snout|beak|whiskers",
        "牙|八重歯|ほくろ|ひげ|髭|眉毛|くちばし",
    ),
    "body": _ending(
        "breasts|flat chest|muscular|muscular (?:fe)?male|abs|tall|tall (?:fe)?male|chubby|plump|petite|curvy|(?:small|slim|slender|round|thick|chibi) body",
        "体型|体格|筋肉質|小柄|長身|巨乳|貧乳",
    ),
    "creature": _ending(
        "(?:cat|fox|dog|wolf|bunny|rabbit|dragon|demon|monster|bird|horse|cow|mouse) (?:girl|boy)|elf|robot|android|mecha|mascot|"
        "slime|vampire|fairy|angel|mermaid",
        "獣人|エルフ|ロボット|マスコット|悪魔|天使|吸血鬼|妖精|人魚",
    ),
}
_CLOTHING: dict[Reason, re.Pattern[str]] = {
    "clothing": _ending(
        "dress|skirt|shirt|blouse|jacket|coat|hoodie|sweater|cardigan|vest|uniform|serafuku|suit|kimono|yukata|hakama|robe|armor|"
        "cape|cloak|apron|pants|jeans|shorts|leggings|swimsuit|bikini|leotard|bodysuit|sleeves|collar|frills|hood|hat|cap|beret|"
        "helmet|headband|crown|mask|glasses|goggles|scarf|necktie|bowtie|ribbon|bow|choker|necklace|earrings|belt|gloves|mittens|"
        "boots|shoes|sandals|socks|thighhighs|kneehighs|pantyhose",
        "服|ドレス|スカート|シャツ|ブラウス|ジャケット|コート|パーカー|セーター|スーツ|着物|浴衣|袴|鎧|マント|エプロン|ズボン|水着|"
        "袖|襟|フリル|帽子|ヘルメット|王冠|仮面|眼鏡|メガネ|マフラー|スカーフ|ネクタイ|リボン|ベルト|手袋|ブーツ|靴|靴下|タイツ",
    ),
}
_POSE: dict[Reason, re.Pattern[str]] = {
    "pose": _whole(
        "sitting|standing|standing on one leg|kneeling|squatting|crouching|lying|on (?:back|stomach|side)|all fours|running|walking|"
        "jumping|flying|dancing|seiza|wariza|indian style|fighting stance|bent over|leaning (?:forward|back)|stretching|"
        "(?:arms?|hands?|legs?) (?:up|crossed|behind .*|on .*|in .*)|crossed (?:arms|legs)|(?:outstretched|spread) (?:arms?|legs)|"
        "peace sign|v|salute|waving|pointing.*|reaching.*|.* pose",
        "座っている|立っている|寝ている|ポーズ|正座|あぐら|体育座り|ピース|腕組み|ジャンプ",
    ),
}
_STYLE: dict[Reason, re.Pattern[str]] = {
    "medium": _whole(
        r".*\(medium\)|traditional media|.*(?:painting|drawing|sketch|illustration|line ?art|pixel art|watercolou?r|artwork)|"
        "3d|3d render|cgi|monochrome|gr[ae]yscale|sepia|spot color|crayon|gouache|charcoal|pastel",
        "水彩|水彩画|油絵|線画|鉛筆画|イラスト|ドット絵|モノクロ|白黒|スケッチ",
    ),
    "style": _whole(
        r".*[ -]?(?:style|artstyle)(?: \(.*\))?|.*\((?:style|artist)\)|anime|manga|comic|cartoon|cel shading|flat colou?r|ukiyo-e|"
        "impressionism|(?:digital|concept|vector|pop) art|by .*",
        "画風|絵柄|タッチ|アニメ風|漫画風|アニメ塗り|厚塗り",
    ),
}
REASONS: dict[Kind, dict[Reason, re.Pattern[str]]] = {
    "character": _BODY, "outfit": _CLOTHING, "pose": _POSE, "style": _STYLE, "object": {}, "concept": {}
}  # fmt: skip
"""Kind -> what its own tags are about. The patterns are for whole tags in lower case with spaces for underscores."""


def reason_of(tag: str, kind: Kind) -> Reason | None:
    """What the tag says of a concept of this kind; None for a tag about something else."""
    text = " ".join(tag.lower().replace("_", " ").split())
    if len(text.split()) > WORDS:
        return None
    return next((reason for reason, pattern in REASONS[kind].items() if pattern.fullmatch(text)), None)
