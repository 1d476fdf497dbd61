"""Where the company's customers live: districts and counties by their GB/T 2260 code, with a point in each.

Points are rounded centroids of published division data, in which the datum is unstated: good to about a kilometre.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Area:
    code: str
    chinese: str
    english: str
    chinese_city: str
    city: str
    latitude_deg: float
    longitude_deg: float


AREAS: dict[str, tuple[Area, ...]] = {
    "hq": (
        Area("110105", "朝阳区", "Chaoyang", "北京", "Beijing", 39.92, 116.44),
        Area("110106", "丰台区", "Fengtai", "北京", "Beijing", 39.86, 116.29),
        Area("110108", "海淀区", "Haidian", "北京", "Beijing", 39.96, 116.30),
    ),
    "north": (
        Area("120101", "和平区", "Heping", "天津", "Tianjin", 39.12, 117.21),
        Area("120103", "河西区", "Hexi", "天津", "Tianjin", 39.11, 117.22),
        Area("120104", "南开区", "Nankai", "天津", "Tianjin", 39.14, 117.15),
        Area("130102", "长安区", "Chang'an", "石家庄", "Shijiazhuang", 38.04, 114.54),
        Area("130104", "桥西区", "Qiaoxi", "石家庄", "Shijiazhuang", 38.00, 114.46),
        Area("130108", "裕华区", "Yuhua", "石家庄", "Shijiazhuang", 38.01, 114.53),
        Area("370102", "历下区", "Lixia", "济南", "Jinan", 36.67, 117.08),
        Area("370103", "市中区", "Shizhong", "济南", "Jinan", 36.65, 117.00),
        Area("370202", "市南区", "Shinan", "青岛", "Qingdao", 36.08, 120.41),
        Area("370212", "崂山区", "Laoshan", "青岛", "Qingdao", 36.11, 120.47),
    ),
    "east": (
        Area("310101", "黄浦区", "Huangpu", "上海", "Shanghai", 31.23, 121.48),
        Area("310104", "徐汇区", "Xuhui", "上海", "Shanghai", 31.19, 121.44),
        Area("310115", "浦东新区", "Pudong", "上海", "Shanghai", 31.22, 121.54),
        Area("320104", "秦淮区", "Qinhuai", "南京", "Nanjing", 32.04, 118.79),
        Area("320106", "鼓楼区", "Gulou", "南京", "Nanjing", 32.07, 118.77),
        Area("320505", "虎丘区", "Huqiu", "苏州", "Suzhou", 31.33, 120.43),
        Area("320508", "姑苏区", "Gusu", "苏州", "Suzhou", 31.34, 120.62),
        Area("330105", "拱墅区", "Gongshu", "杭州", "Hangzhou", 30.32, 120.14),
        Area("330106", "西湖区", "Xihu", "杭州", "Hangzhou", 30.26, 120.13),
        Area("330108", "滨江区", "Binjiang", "杭州", "Hangzhou", 30.21, 120.21),
        Area("330110", "余杭区", "Yuhang", "杭州", "Hangzhou", 30.42, 120.30),
        Area("330122", "桐庐县", "Tonglu", "杭州", "Hangzhou", 29.79, 119.69),
    ),
    "south": (
        Area("350203", "思明区", "Siming", "厦门", "Xiamen", 24.45, 118.08),
        Area("350206", "湖里区", "Huli", "厦门", "Xiamen", 24.51, 118.15),
        Area("440103", "荔湾区", "Liwan", "广州", "Guangzhou", 23.13, 113.24),
        Area("440104", "越秀区", "Yuexiu", "广州", "Guangzhou", 23.13, 113.27),
        Area("440106", "天河区", "Tianhe", "广州", "Guangzhou", 23.12, 113.36),
        Area("440304", "福田区", "Futian", "深圳", "Shenzhen", 22.52, 114.06),
        Area("440305", "南山区", "Nanshan", "深圳", "Shenzhen", 22.53, 113.93),
        Area("440306", "宝安区", "Bao'an", "深圳", "Shenzhen", 22.55, 113.88),
    ),
}
