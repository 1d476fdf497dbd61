"""What we want of our manifests beyond what Kubernetes accepts. Each rule names what is wrong, and is broken once in
test_rules."""

import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from services.cli.table import NAMES
from services.kernel.config import read_settings
from services.kernel.errors import Misconfigured
from tests.k8s.rendering import K8S, Manifest, listens, matches, name, of_kind, processes

SENDER, MIGRATE, GATEWAY = "notification-sender", "migrate", "gateway"
RELAY = "relay"
SMTP, BROKER = "kept-smtp", "kept-broker"
# Settings that services/kernel/config.py does not read: how a process says that it is ready, the gateway's, the sender's.
OTHER_SETTINGS = {"KEPT_READY_FD", "KEPT_LISTEN", "KEPT_TARGETS"} | {
    f"KEPT_SMTP_{each}" for each in ("HOST", "FROM", "USER", "PASSWORD_FILE")
}

Rule = Callable[[list[Manifest]], Iterator[str]]


def hardened(found: list[Manifest]) -> Iterator[str]:
    for who, template, container in processes(found):
        pod, own = template["spec"], container.get("securityContext", {})
        for wanted, so in {
            "not root": pod["securityContext"].get("runAsNonRoot") is True and pod["securityContext"]["runAsUser"] > 0,
            "seccomp": pod["securityContext"].get("seccompProfile") == {"type": "RuntimeDefault"},
            "no token": pod.get("automountServiceAccountToken") is False,
            "no escalation": own.get("allowPrivilegeEscalation") is False,
            "read-only root": own.get("readOnlyRootFilesystem") is True,
            "no capability": own.get("capabilities") == {"drop": ["ALL"]},
            "nothing of the pod undone": own.keys().isdisjoint({"runAsUser", "runAsNonRoot", "seccompProfile"}),
            "nothing of the node": not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(),
            "no path of the node": not [volume for volume in pod["volumes"] if "hostPath" in volume],
        }.items():
            if not so:
                yield f"{who}: {wanted}"


def limited(found: list[Manifest]) -> Iterator[str]:
    for who, _, container in processes(found):
        for kind in ("requests", "limits"):
            for what in {"cpu", "memory"} - container.get("resources", {}).get(kind, {}).keys():
                yield f"{who}: {kind} no {what}"


def probed(found: list[Manifest]) -> Iterator[str]:
    """All that stay say when they are up. Servers are asked for their health; of a worker there is nothing to ask."""
    for who, _, container in processes(found):
        port = listens(container)
        if who == MIGRATE:
            continue
        if "startupProbe" not in container:
            yield f"{who}: does not say when it is up"
        for probe in ("readinessProbe", "livenessProbe"):
            if port is not None and container.get(probe, {}).get("grpc", {}).get("port") != port:
                yield f"{who}: no {probe}"
        if "livenessProbe" in container and port is None and who != GATEWAY:
            yield f"{who}: a livenessProbe that knows nothing"


def served(found: list[Manifest]) -> Iterator[str]:
    """Who listens has a Service that leads to its port, and a budget; the others have none."""
    for who, template, container in processes(found):
        labels, port = template["metadata"]["labels"], listens(container)
        services = [one for one in of_kind(found, "Service") if _selects(one, labels)]
        budgets = [one for one in of_kind(found, "PodDisruptionBudget") if _selects(one, labels)]
        if (len(services), len(budgets)) != ((0, 0) if port is None else (1, 1)):
            yield f"{who}: {len(services)} Services, {len(budgets)} PodDisruptionBudgets"
        for one in services:
            named = {each["name"]: each["containerPort"] for each in container.get("ports", [])}
            if name(one) != who or [named.get(each["targetPort"]) for each in one["spec"]["ports"]] != [port]:
                yield f"{who}: its Service leads elsewhere"


def complete(found: list[Manifest]) -> Iterator[str]:
    there = {name(one) for one in of_kind(found, "Deployment")}
    if _has_broker(found) != (RELAY in there):
        yield f"{RELAY} and {BROKER}: one without the other"
    for service in NAMES:
        for part in ("api", "worker"):
            if (wanted := f"{service.replace('_', '-')}-{part}") not in there:
                yield f"{wanted} is missing"


def selected(found: list[Manifest]) -> Iterator[str]:
    """Every selector finds its own pods and no other's; every autoscaler its Deployment."""
    pods = {who: template["metadata"]["labels"] for who, template, _ in processes(found)}
    for one in of_kind(found, "Deployment"):
        if [who for who, labels in pods.items() if matches(one["spec"]["selector"], labels)] != [name(one)]:
            yield f"Deployment {name(one)}: selects others than its own"
    for one in of_kind(found, "Service", "PodDisruptionBudget", "NetworkPolicy"):
        if not any(_selects(one, labels) for labels in pods.values()):
            yield f"{one['kind']} {name(one)}: selects nothing"
    for one in of_kind(found, "HorizontalPodAutoscaler"):
        targets = [each for each in of_kind(found, "Deployment") if name(each) == one["spec"]["scaleTargetRef"]["name"]]
        if not targets or "replicas" in targets[0]["spec"]:
            yield f"HorizontalPodAutoscaler {name(one)}: nothing that is its own to scale"


def single(found: list[Manifest]) -> Iterator[str]:
    """The relay runs once at a time, also while it is replaced."""
    for one in of_kind(found, "Deployment"):
        if name(one) == RELAY:
            how = one["spec"]
            if how.get("replicas") != 1 or how.get("strategy") != {"type": "Recreate"}:
                yield f"{name(one)}: may run twice"


def stood_by(found: list[Manifest]) -> Iterator[str]:
    """Of what follows or sends the next one is there before the last one leaves, and as many of each."""
    following = [one for one in of_kind(found, "Deployment") if name(one) == SENDER or name(one).endswith("-worker")]
    most = max(one["spec"].get("replicas", 0) for one in following)
    for one in following:
        how = one["spec"].get("strategy", {})
        if how.get("type") != "RollingUpdate" or how.get("rollingUpdate") != {"maxSurge": 1, "maxUnavailable": 0}:
            yield f"{name(one)}: leaves before the next one is there"
        if one["spec"].get("replicas") != most:
            yield f"{name(one)}: fewer than of the others"


def referred(found: list[Manifest]) -> Iterator[str]:
    """What is mounted or read is there: a ConfigMap among these, a Secret's key in the README's list; and no Secret is."""
    maps = {name(one) for one in of_kind(found, "ConfigMap")}
    used = {key for who, template, container in processes(found) for key in _secrets(who, template, container)}
    for who, _, container in processes(found):
        for each in container.get("envFrom", []):
            if "configMapRef" in each and each["configMapRef"]["name"] not in maps:
                yield f"{who}: no ConfigMap {each['configMapRef']['name']}"
    told = set(
        re.findall(r"(?m)^\| `(kept-[a-z-]+)` \| `([\w.]+)` \|", (K8S / "README.md").read_text(encoding="utf-8"))
    )
    if not _has_broker(found):
        told = {(secret, key) for secret, key in told if secret != BROKER}
    for secret, key in sorted(used ^ told):
        yield f"Secret {secret}, key {key}: {'used and not told' if (secret, key) in used else 'told and not used'}"
    for one in of_kind(found, "Secret"):
        yield f"Secret {name(one)} is in the manifests"


def only_the_sender_sends(found: list[Manifest]) -> Iterator[str]:
    for who, template, container in processes(found):
        if (SMTP in json.dumps([template["spec"].get("volumes"), container])) != (who == SENDER):
            yield f"{who}: {'lacks' if who == SENDER else 'has'} {SMTP}"


def set_up(found: list[Manifest]) -> Iterator[str]:
    """Every setting is one that is read, with a value that is taken; who opens the log has its address and the key."""
    maps = {name(one): one["data"] for one in of_kind(found, "ConfigMap")}
    for who, template, container in processes(found):
        settings = {each["name"]: each.get("value", _secret(each["name"])) for each in container.get("env", [])}
        for each in container["envFrom"]:
            settings |= maps.get(each.get("configMapRef", {}).get("name"), {})
        try:
            known = read_settings(settings).environment().keys() | OTHER_SETTINGS
        except Misconfigured as mistake:
            yield f"{who}: {mistake}"
            continue
        for strange in sorted(settings.keys() - known):
            yield f"{who}: nobody reads {strange}"
        opens = {"KEPT_DATABASE", "KEPT_MASTER_KEY_FILE"}
        if (settings.keys() & opens) != (opens if who != GATEWAY else set()):
            yield f"{who}: opens the log, or does not"
        if (template["metadata"]["labels"].get("kept/log") == "opened") != (who != GATEWAY):
            yield f"{who}: says of itself wrongly whether it opens the log"


def connected(found: list[Manifest]) -> Iterator[str]:
    """The gateway is told where each service answers, and each of these addresses is a Service."""
    services = {f"{name(one)}:{each['port']}" for one in of_kind(found, "Service") for each in one["spec"]["ports"]}
    (gateway,) = [container for who, _, container in processes(found) if who == GATEWAY]
    targets = json.loads({each["name"]: each.get("value") for each in gateway["env"]}["KEPT_TARGETS"])
    for address in sorted(set(targets.values()) ^ services):
        yield f"{address}: a Service or a target, not both"
    for service in {"cell", "audit", *NAMES} - targets.keys():
        yield f"{service}: the gateway is not told where it answers"


def reporting(found: list[Manifest]) -> Iterator[str]:
    """The network policy lets telemetry out to where it is sent."""
    (door,) = [one["spec"]["egress"][0] for one in of_kind(found, "NetworkPolicy") if name(one) == "report"]
    allowed = door["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], door["ports"][0]["port"]
    for one in of_kind(found, "ConfigMap"):
        if (endpoint := one["data"].get("KEPT_OTLP_ENDPOINT")) is not None:
            url = urlsplit(endpoint)
            if (*(url.hostname or "").split(".")[1:2], url.port) != allowed:
                yield f"{endpoint}: may not be reached"


def closed(found: list[Manifest]) -> Iterator[str]:
    """Nothing is reached from outside the cluster; inside it, the gateway alone reaches those who serve gRPC."""
    for one in of_kind(found, "Ingress", "Gateway", "HTTPRoute", "GRPCRoute"):
        yield f"{one['kind']} {name(one)}"
    for one in of_kind(found, "Service"):
        if one["spec"].get("type", "ClusterIP") != "ClusterIP" or "externalIPs" in one["spec"]:
            yield f"Service {name(one)} is seen from outside"
    policies = [one["spec"] for one in of_kind(found, "NetworkPolicy")]
    for who, template, container in processes(found):
        labels, port = template["metadata"]["labels"], listens(container)
        mine = [policy for policy in policies if matches(policy["podSelector"], labels)]
        if {kind for policy in mine for kind in policy["policyTypes"]} != {"Ingress", "Egress"}:
            yield f"{who}: not all is denied by default"
        doors = [door for policy in mine for door in policy.get("ingress", [])]
        if doors != ([] if port is None else [_from_the_gateway(port)]):
            yield f"{who}: lets others in than the gateway"
        out = {each["port"] for policy in mine for door in policy.get("egress", []) for each in door["ports"]}
        if out != _ways_out(who, container):
            yield f"{who}: may go out by {sorted(out)}"


def _from_the_gateway(port: int) -> Manifest:
    caller = {"podSelector": {"matchLabels": {"app.kubernetes.io/component": GATEWAY}}}
    return {"from": [caller], "ports": [{"protocol": "TCP", "port": port}]}


def _ways_out(who: str, container: Manifest) -> set[int]:
    """Names and telemetry for all; then gRPC, or PostgreSQL; mail for one, and the broker for who knows it and runs on."""
    broker = {5671} if _knows_broker(container) and who != MIGRATE else set()
    return {53, 4318} | ({8443} if who == GATEWAY else {5432}) | ({587} if who == SENDER else set()) | broker


def _knows_broker(container: Manifest) -> bool:
    return any(each["name"] == "KEPT_BROKER" for each in container.get("env", []))


def _has_broker(found: list[Manifest]) -> bool:
    return any(_knows_broker(container) for _, _, container in processes(found))


def _secret(setting: str) -> str:
    """A value as the Secret would have it."""
    return "amqps://somewhere/kept" if setting == "KEPT_BROKER" else "postgresql://somewhere/kept"


def _selects(one: Manifest, labels: dict[str, str]) -> bool:
    spec = one["spec"]
    if one["kind"] == "Service":
        return matches({"matchLabels": spec["selector"]}, labels)
    return matches(spec["podSelector" if one["kind"] == "NetworkPolicy" else "selector"], labels)


def _secrets(who: str, template: Manifest, container: Manifest) -> Iterator[tuple[str, str]]:
    for each in container.get("env", []):
        if (key := each.get("valueFrom", {}).get("secretKeyRef")) is not None:
            yield key["name"], key["key"]
    for each in template["spec"]["volumes"]:
        if (secret := each.get("secret")) is not None:
            yield from ((secret["secretName"], item["key"]) for item in secret["items"])
    for each in container.get("envFrom", []):
        assert "secretRef" not in each, f"{who}: name the keys, so that they can be told"


RULES: tuple[Rule, ...] = (
    (hardened, limited, probed, served, complete, selected)
    + (stood_by, single, referred, only_the_sender_sends, set_up, connected, reporting, closed)
)  # fmt: skip
