"""What text the bytes of a caption file are, without ever guessing wrong in silence.

UTF-8 and anything with a byte-order mark is certain, and UTF-16 without one shows by its zero bytes. Shift-JIS, EUC-JP,
GBK and Latin-1 carry no mark and each other's bytes are often valid: a reading is accepted only when most of its
characters are everyday ones of that language and no other reading comes near. What stays doubtful is refused by name, for
a caption of wrong letters trains without any sign.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

from engine.errors import DatasetError

CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\U0010ffff]")
"""The characters that no text file contains."""
_PUNCTUATION = set("、。「」『』（）〈〉《》【】，！？：；・ー〜～…“”‘’—·　")
_KANA = {chr(code) for code in (*range(0x3041, 0x3097), *range(0x30A1, 0x30FF))}
# The characters of the first school years and of what people write about pictures.
_JAPANESE = set(
    "一右雨円王音下火花貝学気九休玉金空月犬見五口校左三山子四糸字耳七車手十出女小上森人水正生青夕石赤千川先早草足村大男竹中虫町天田土"
    "二日入年白八百文木本名目立力林六引羽雲園遠何科夏家歌画回会海絵外角楽活間丸岩顔汽記帰弓牛魚京強教近兄形計元言原戸古午後語工公広交光"
    "考行高黄合谷国黒今才細作算止市矢姉思紙寺自時室社弱首秋週春書少場色食心新親図数西声星晴切雪船線前組走多太体台地池知茶昼長鳥朝直通弟"
    "店点電刀冬当東答頭同道読内南肉馬売買麦半番父風分聞米歩母方北毎妹万明鳴毛門夜野友用曜来里理話悪安暗医意員院飲泳駅横屋温化荷界開階寒"
    "感館岸起期客急球去橋曲銀区苦具君係軽血研庫湖向幸港号根祭皿仕死使始指歯詩次事持式実写者主守取酒受州拾終習集住重宿所暑助昭消商章勝"
    "乗植申身神真深進世整昔全相送想息速族他打対待代第題炭短談着注柱丁調追庭笛鉄転都度投豆島湯登等動童波配倍箱畑発反坂板皮悲美鼻筆氷表"
    "秒病品部服福物平返放味命面問役油有遊予羊洋葉陽様落流旅両緑練路和髪瞳猫兎狐狼熊象鏡制帽笑泣涙頬唇肩腕背景装飾影輝紫橙灰桃紺濃淡柔硬"
    "棒剣盾鎧翼尾爪牙機械器兵士騎姫巫魔法戦闘侍忍替浴衣袴靴袖襟裾傘鞄杖椅窓扉壁床街並城塔砂漠桜梅菊薔薇蝶龍竜鬼像撮単独満構最高品質"
)
_CHINESE = set(
    "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学么之都好看起发当没"
    "成只如事把还用第样道想作种开美总从无情己面最女但现前些所同日手又行意动方期它头经长儿回位分爱老因很给名法间知世什两次使身者被高已亲其"
    "进此话常与活正感见明问力理点文几定本公特做外孩相西果走将月十实向声车全信重三机工物气每并别真打太新比才便再书部水像眼等体却加电主界门"
    "利海受听表少代先口由死安写性马光白住难望教命花结乐色更拉东神处让母父应直字场平放至张认接入笑内军民何山觉路带万男边风解任金快原吃变通"
    "师立象数四失满战远格士音轻目条呢始深完今提求清王化空业思找片语元喜飞科言干流各指合反题必该论交终林请晚制球画保读则房早院量苦火布品近"
    "坐答星精视五司奇管类且夜青北队久落形影红爸令周步术留市半热送容极随演收首根讲整式取照石古华备孩裙蓝绿黄紫粉黑灰棕橙短睛微头背景站躺校"
    "服衣帽鞋袜套镜猫狗兔狐狼熊鸟鱼龙蝴蝶剑盾翼尾耳角器巫魔骑单双辫刘阳云树草朵雨雪滩沙漠城街窗户床椅桌简纯线插油彩素描漫细节质杰佳银发腿"
)
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# Latin and rarer Latin, Greek, Cyrillic, Armenian, Hebrew, Arabic: what UTF-8 writes in two bytes and people write captions in.
_BOUNDS = (0x80, 0x180, 0x370, 0x400, 0x530, 0x590, 0x600, 0x700)
_ALPHABETS = [range(*bounds) for bounds in pairwise(_BOUNDS)]
_EVERYDAY = {
    "cp932": _JAPANESE | _KANA | _PUNCTUATION,
    "euc_jp": _JAPANESE | _KANA | _PUNCTUATION,
    "gbk": _CHINESE | _PUNCTUATION,
}
_SHARE, _LEAD = 0.6, 2  # of the non-ASCII characters everyday ones; everyday characters more than the next reading has


def decode_text(data: bytes, encoding: str | None = None) -> tuple[str, str]:
    """The text of a caption file and the name of its encoding.

    Args:
        encoding: a Python codec name when it is known; None finds out.

    Raises:
        DatasetError: `caption.undecodable` with the reason.
    """
    mark = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if encoding or mark:
        found = _declared(data, encoding or mark or "")
    else:
        found = _utf16_by_zeros(data) or _utf8(data) or _legacy(data)
    if found is None:
        raise _undecodable("its encoding cannot be told with certainty")
    if CONTROL.search(found[0]):
        raise _undecodable("it contains control characters, so it is no text file")
    return found


def _declared(data: bytes, encoding: str) -> tuple[str, str]:
    try:
        return data.decode(encoding).removeprefix("\ufeff"), encoding
    except (UnicodeDecodeError, LookupError) as error:
        raise _undecodable(f"it is not {encoding} ({error})") from error


def _utf8(data: bytes) -> tuple[str, str] | None:
    """UTF-8, unless it is such a jumble of letters as a Chinese or Japanese word in an older encoding can happen to be."""
    text = _strict(data, "utf-8")
    if text is None or text.isascii():
        return None if text is None else (text, "utf-8")
    letters = [letter for letter in text if ord(letter) > 127]
    if any(ord(letter) >= 0x800 for letter in letters):  # three bytes in the right order are no accident
        return text, "utf-8"
    letters = [letter for letter in letters if unicodedata.category(letter)[0] in "LC"]
    alphabets = {next((block for block in _ALPHABETS if ord(letter) in block), None) for letter in letters}
    odd = None in alphabets or any(unicodedata.category(letter) == "Cn" for letter in letters)
    mixed = len(alphabets) > 1 and any(reading.plausible for reading in _readings(data))
    return None if odd or mixed else (text, "utf-8")


def _utf16_by_zeros(data: bytes) -> tuple[str, str] | None:
    """UTF-16 without a mark: every zero byte is the upper half of a plain letter, and the rest is everyday text."""
    zeros = {index % 2 for index, byte in enumerate(data) if byte == 0} if 0 in data else set()
    if len(zeros) != 1 or len(data) % 2:
        return None
    encoding = "utf-16-le" if zeros == {1} else "utf-16-be"
    text = _strict(data, encoding)
    letters = [letter for letter in text or "" if ord(letter) > 255]
    everyday = sum(letter in _EVERYDAY["cp932"] | _EVERYDAY["gbk"] for letter in letters)
    return (text, encoding) if text and everyday >= _SHARE * len(letters) else None


@dataclass(frozen=True)
class _Reading:
    """One way to read the bytes: how many of its characters are everyday ones, and whether that is most of them."""

    text: str
    encoding: str
    everyday: int
    plausible: bool


def _readings(data: bytes) -> list[_Reading]:
    """The possible East Asian readings, those that make sense first."""
    readings = []
    for encoding, everyday in _EVERYDAY.items():
        text = _strict(data, encoding) or ""
        letters = [letter for letter in text if ord(letter) > 127]
        count = sum(letter in everyday for letter in letters)
        if letters:
            readings.append(_Reading(text, encoding, count, count >= _SHARE * len(letters)))
    return sorted(readings, key=lambda reading: (-reading.plausible, -reading.everyday))


def _legacy(data: bytes) -> tuple[str, str] | None:
    readings = _readings(data)
    if readings and readings[0].plausible:
        best = readings[0]
        rival = max((reading.everyday for reading in readings if reading.text != best.text), default=0)
        return (best.text, best.encoding) if best.everyday - rival >= _LEAD else None
    text = _strict(data, "cp1252")
    return (text, "cp1252") if text and _is_latin(text) else None


def _strict(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _is_latin(text: str) -> bool:
    """Western words: accented letters alone or as an equal small pair between plain ones; of symbols the apostrophe only."""
    text = re.sub("(?<=[a-zA-Z])’(?=[a-zA-Zà-ÿ])", "'", text)
    runs = re.findall(r"[^\x00-\x7f]+", text)
    return not re.search("[à-ÿ][A-Z]|[a-z][À-Þ]", text) and all(re.fullmatch("[À-ÖØ-öø-ÿŒœ]|[à-öø-ÿ]{2}", run) for run in runs)


def _undecodable(reason: str) -> DatasetError:
    return DatasetError(
        "caption.undecodable",
        f"The caption cannot be read: {reason}.",
        "A caption is a text file.",
        "Save it as UTF-8.",
        reason=reason,
    )
