"""Names of people and companies, Chinese and English, put together from common ones; all made up."""

from dataclasses import dataclass

from services.cli.demo.chance import Chance
from services.cli.demo.places import Area

CHINESE, ENGLISH = "zh-CN", "en"

_SURNAMES = tuple(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范"
) + ("欧阳", "诸葛", "司徒")
_GIVEN = (
    *("伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "娟", "涛", "明", "超", "霞", "平"),
    *("刚", "辉", "玲", "桂英", "秀兰", "建国", "建华", "志强", "志明", "海燕", "海涛", "春梅", "晓东", "晓燕", "文博"),
    *(
        "子涵",
        "欣怡",
        "梓轩",
        "浩宇",
        "雨桐",
        "宇轩",
        "诗涵",
        "佳怡",
        "俊杰",
        "思远",
        "雅婷",
        "嘉豪",
        "若曦",
        "天宇",
        "一诺",
    ),
)
_FIRST = (
    *(
        "James",
        "Mary",
        "Robert",
        "Patricia",
        "John",
        "Jennifer",
        "Michael",
        "Linda",
        "David",
        "Elizabeth",
        "Anna",
        "Susan",
    ),
    *(
        "Thomas",
        "Sarah",
        "Daniel",
        "Karen",
        "Lucas",
        "Nancy",
        "Peter",
        "Emma",
        "Paul",
        "Olivia",
        "Mark",
        "Sophie",
        "Amir",
    ),
)
_LAST = (
    *(
        "Smith",
        "Johnson",
        "Brown",
        "Taylor",
        "Miller",
        "Wilson",
        "Moore",
        "Anderson",
        "Jackson",
        "White",
        "Harris",
        "Martin",
    ),
    *(
        "Thompson",
        "Clark",
        "Lewis",
        "Walker",
        "Hall",
        "Young",
        "Wright",
        "Hughes",
        "Green",
        "Baker",
        "Novak",
        "Rossi",
        "Silva",
    ),
)
_LUCKY = (
    "安居",
    "锦禾",
    "恒盛",
    "瑞丰",
    "嘉悦",
    "明湖",
    "朗庭",
    "云栖",
    "和泰",
    "启辰",
    "润东",
    "百川",
    "同心",
    "海岳",
)
_TRADES = ("酒店管理", "物业服务", "餐饮管理", "健身服务", "教育科技", "养老服务")
_CALM = (
    "Harbour View",
    "Lakeside",
    "Silver Birch",
    "Green Valley",
    "Northgate",
    "Riverside",
    "Cedar Hill",
    "Bluewater",
)
_HOUSES = ("Apartments Ltd", "Hotel Group Ltd", "Property Services Ltd", "International School")
_CRAFTS = ("暖通服务", "机电工程", "家电维修", "水暖安装", "能源服务")
_ENGLISH_CRAFTS = ("Heating Services Ltd", "Home Energy Ltd", "Building Services Ltd")
_STREETS = (
    *(("人民路", "Renmin Road"), ("解放路", "Jiefang Road"), ("建设路", "Jianshe Road"), ("文化路", "Wenhua Road")),
    *(
        ("中山路", "Zhongshan Road"),
        ("学院路", "Xueyuan Road"),
        ("新华街", "Xinhua Street"),
        ("长江路", "Changjiang Road"),
    ),
    *(("和平路", "Heping Road"), ("东湖路", "Donghu Road"), ("育才街", "Yucai Street"), ("花园路", "Huayuan Road")),
)
# As they log in.
STAFF = (
    *(
        "wang.lei",
        "li.na",
        "zhang.min",
        "liu.yang",
        "chen.jie",
        "zhao.lin",
        "huang.tao",
        "zhou.xin",
        "wu.hao",
        "xu.jing",
    ),
    *("sun.bo", "ma.chao", "anna.novak", "david.clark"),
)


@dataclass(frozen=True)
class Named:
    name: str
    language: str  # BCP 47


def person(chance: Chance, *, english: float) -> Named:
    """English with that probability."""
    if chance.happens(english):
        return Named(f"{chance.one_of(_FIRST)} {chance.one_of(_LAST)}", ENGLISH)
    return Named(chinese_name(chance), CHINESE)


def chinese_name(chance: Chance) -> str:
    return chance.one_of(_SURNAMES) + chance.one_of(_GIVEN)


def organization(chance: Chance, area: Area, *, english: float) -> Named:
    if chance.happens(english):
        return Named(f"{area.city} {chance.one_of(_CALM)} {chance.one_of(_HOUSES)}", ENGLISH)
    return Named(f"{area.chinese_city}{chance.one_of(_LUCKY)}{chance.one_of(_TRADES)}有限公司", CHINESE)


def partner_names(chance: Chance, areas: list[Area]) -> list[str]:
    """One for a partner company of each of these areas, none twice; every eighth is English."""
    names: list[str] = []
    while len(names) < len(areas):
        area = areas[len(names)]
        if len(names) % 8 == 7:
            name = f"{area.city} {chance.one_of(_CALM)} {chance.one_of(_ENGLISH_CRAFTS)}"
        else:
            name = f"{area.chinese_city}{chance.one_of(_LUCKY)}{chance.one_of(_CRAFTS)}有限公司"
        if name not in names:
            names.append(name)
    return names


def address(chance: Chance, area: Area, language: str) -> str:
    street, english_street = chance.one_of(_STREETS)
    number, building, floor, door = (chance.within(1, most) for most in (399, 28, 30, 4))
    if language == ENGLISH:
        return f"Room {floor}{door:02d}, Building {building}, {number} {english_street}, {area.english}, {area.city}"
    return f"{area.chinese_city}{area.chinese}{street}{number}号{building}幢{floor}{door:02d}室"
