"""What customers ask for, in their own words: one entry for each of the commonest categories, in the measured order."""

from dataclasses import dataclass

from kept.case.v1 import events_pb2 as case

from services.cli.demo.company import INSPECT, INSTALL, REPAIR
from services.cli.demo.figures import FIGURES
from services.cli.demo.names import CHINESE, ENGLISH


@dataclass(frozen=True)
class Need:
    """`skill` is what a visit for it takes; empty where nobody need come."""

    category: str
    kind: case.CaseKind.ValueType
    skill: str
    chinese: str
    english: str

    def text(self, language: str, product: str) -> str:
        return (self.chinese if language == CHINESE else self.english).format(product=product)


_INCIDENT, _REQUEST = case.CASE_KIND_INCIDENT, case.CASE_KIND_SERVICE_REQUEST
_INQUIRY, _COMPLAINT = case.CASE_KIND_INQUIRY, case.CASE_KIND_COMPLAINT
NEEDS = (
    Need(
        "no hot water",
        _INCIDENT,
        REPAIR,
        "{product} 从今早起没有热水。",
        "The {product} gives no hot water since this morning.",
    ),
    Need(
        "does not start",
        _INCIDENT,
        REPAIR,
        "{product} 按开关没有反应，启动不了。",
        "The {product} does not start, whatever I press.",
    ),
    Need(
        "error code",
        _INCIDENT,
        REPAIR,
        "{product} 屏幕显示故障码 E4，重启后仍然报错。",
        "The {product} shows error E4, also after a restart.",
    ),
    Need(
        "offline in the app",
        _INCIDENT,
        "",
        "手机上显示 {product} 离线，无法远程调节。",
        "My phone says that the {product} is offline.",
    ),
    Need(
        "temperature varies",
        _INCIDENT,
        "",
        "{product} 温度忽高忽低，设定值不起作用。",
        "With the {product} the temperature goes up and down.",
    ),
    Need(
        "leaks",
        _INCIDENT,
        REPAIR,
        "{product} 底部在滴水，地板已经湿了。",
        "Water drips from the {product}; the floor is wet.",
    ),
    Need(
        "noise",
        _INCIDENT,
        REPAIR,
        "{product} 运行时噪音很大，夜里睡不好。",
        "The {product} is so loud that we cannot sleep.",
    ),
    Need(
        "installation", _REQUEST, INSTALL, "想预约 {product} 移机安装。", "Please move our {product} to another room."
    ),
    Need(
        "maintenance",
        _REQUEST,
        INSPECT,
        "{product} 该做年度保养了，请安排上门。",
        "The {product} is due for its yearly maintenance.",
    ),
    Need(
        "invoice",
        _INQUIRY,
        "",
        "请补开 {product} 上次维修的发票。",
        "Please send the invoice for the last repair of the {product}.",
    ),
    Need("how to use", _INQUIRY, "", "请问 {product} 怎样设置定时？", "How do I set the timer of the {product}?"),
    Need(
        "nobody came",
        _COMPLAINT,
        "",
        "约好的师傅没有来，也没有电话。",
        "The technician did not come, and nobody called.",
    ),
)
SHARES = {str(number): share for number, share in enumerate(FIGURES.commonest_categories)}
OFFLINE = NEEDS[3]
OFFER = Need(
    "offer", _INQUIRY, "", "想了解 {product} 的价格和安装条件。", "What does the {product} cost, installation included?"
)
URGENT = {CHINESE: "家里有老人和小孩。", ENGLISH: "There is a baby in the house."}
UPDATE = {
    CHINESE: "您好，您的问题我们已经在处理，有进展会第一时间告诉您。",
    ENGLISH: "We are working on it, and will tell you as soon as there is news.",
}
