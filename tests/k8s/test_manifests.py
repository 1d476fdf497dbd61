"""Each overlay renders, is what Kubernetes' own schemas allow, and keeps our rules; each rule was seen to be broken."""

from collections.abc import Callable
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # has no types
import pytest

from tests.k8s import rules
from tests.k8s.rendering import OVERLAYS, Manifest, manifests, name, of_kind, processes, rendered

# The newest that the schemas know, and the oldest that we say it runs on.
VERSIONS = (kubernetes_validate.latest_version(), "1.30")

Break = Callable[[list[Manifest]], object]


def find(found: list[Manifest], kind: str, who: str) -> Any:
    (one,) = [each for each in of_kind(found, kind) if name(each) == who]
    return one


def pod(found: list[Manifest], who: str) -> Any:
    (template,) = [template for each, template, _ in processes(found) if each == who]
    return template["spec"]


def box(found: list[Manifest], who: str) -> Any:
    return pod(found, who)["containers"][0]


def env(found: list[Manifest], who: str, key: str) -> Any:
    (one,) = [each for each in box(found, who)["env"] if each["name"] == key]
    return one


def policy(found: list[Manifest], who: str) -> Any:
    return find(found, "NetworkPolicy", who)["spec"]


def settings(found: list[Manifest]) -> Any:
    (one,) = of_kind(found, "ConfigMap")
    return one["data"]


# Rule, how production is broken, what the rule says of it.
OFFENCES: list[tuple[rules.Rule, Break, str]] = [
    (rules.hardened, lambda f: pod(f, "case-api")["securityContext"].update(runAsUser=0), "case-api: not root"),
    (rules.hardened, lambda f: pod(f, "migrate")["securityContext"].pop("seccompProfile"), "migrate: seccomp"),
    (rules.hardened, lambda f: pod(f, "gateway").pop("automountServiceAccountToken"), "gateway: no token"),
    (
        rules.hardened,
        lambda f: box(f, "streams")["securityContext"].update(allowPrivilegeEscalation=True),
        "streams: no escalation",
    ),
    (
        rules.hardened,
        lambda f: box(f, "sla-worker")["securityContext"].pop("readOnlyRootFilesystem"),
        "sla-worker: read-only root",
    ),
    (rules.hardened, lambda f: box(f, "sla-api")["securityContext"].pop("capabilities"), "sla-api: no capability"),
    (
        rules.hardened,
        lambda f: box(f, "sla-api")["securityContext"].update(runAsUser=0),
        "sla-api: nothing of the pod undone",
    ),
    (rules.hardened, lambda f: pod(f, "sla-api").update(hostPID=True), "sla-api: nothing of the node"),
    (
        rules.hardened,
        lambda f: pod(f, "sla-api")["volumes"].append({"name": "all", "hostPath": {"path": "/"}}),
        "sla-api: no path of the node",
    ),
    (rules.limited, lambda f: box(f, "migrate")["resources"]["limits"].pop("memory"), "migrate: limits no memory"),
    (rules.limited, lambda f: box(f, "gateway").pop("resources"), "gateway: requests no cpu"),
    (rules.probed, lambda f: box(f, "case-worker").pop("startupProbe"), "case-worker: does not say when it is up"),
    (rules.probed, lambda f: box(f, "case-api").pop("readinessProbe"), "case-api: no readinessProbe"),
    (rules.probed, lambda f: box(f, "streams")["livenessProbe"]["grpc"].update(port=1), "streams: no livenessProbe"),
    (
        rules.probed,
        lambda f: box(f, "case-worker").update(livenessProbe={"exec": {"command": ["true"]}}),
        "case-worker: a livenessProbe that knows nothing",
    ),
    (
        rules.served,
        lambda f: f.remove(find(f, "Service", "case-api")),
        "case-api: 0 Services, 1 PodDisruptionBudgets",
    ),
    (
        rules.served,
        lambda f: f.remove(find(f, "PodDisruptionBudget", "streams")),
        "streams: 1 Services, 0 PodDisruptionBudgets",
    ),
    (
        rules.served,
        lambda f: find(f, "Service", "case-api")["spec"]["ports"][0].update(targetPort="http"),
        "case-api: its Service leads elsewhere",
    ),
    (rules.complete, lambda f: f.remove(find(f, "Deployment", "sla-worker")), "sla-worker is missing"),
    (
        rules.complete,
        lambda f: f.remove(find(f, "Deployment", "relay")),
        "relay and kept-broker: one without the other",
    ),
    (
        rules.selected,
        lambda f: find(f, "Deployment", "case-api")["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/name"),
        "Deployment case-api: selects others than its own",
    ),
    (
        rules.selected,
        lambda f: find(f, "Service", "sla-api")["spec"]["selector"].update({"app.kubernetes.io/name": "sia"}),
        "Service sla-api: selects nothing",
    ),
    (
        rules.selected,
        lambda f: find(f, "Deployment", "sla-api")["spec"].update(replicas=2),
        "HorizontalPodAutoscaler sla-api: nothing that is its own to scale",
    ),
    (
        rules.stood_by,
        lambda f: find(f, "Deployment", "notification-sender")["spec"].update(replicas=1),
        "notification-sender: fewer than of the others",
    ),
    (rules.single, lambda f: find(f, "Deployment", "relay")["spec"].update(replicas=2), "relay: may run twice"),
    (
        rules.stood_by,
        lambda f: find(f, "Deployment", "case-worker")["spec"].update(strategy={"type": "Recreate"}),
        "case-worker: leaves before the next one is there",
    ),
    (rules.referred, lambda f: f.remove(of_kind(f, "ConfigMap")[0]), "case-api: no ConfigMap kept-settings-"),
    (
        rules.referred,
        lambda f: env(f, "case-api", "KEPT_DATABASE")["valueFrom"]["secretKeyRef"].update(key="adress"),
        "Secret kept-database, key adress: used and not told",
    ),
    (
        rules.referred,
        lambda f: env(f, "relay", "KEPT_BROKER")["valueFrom"]["secretKeyRef"].update(key="adress"),
        "Secret kept-broker, key adress: used and not told",
    ),
    (
        rules.referred,
        lambda f: [pod(f, who).update(volumes=[]) for who, _, _ in processes(f)],
        "Secret kept-master-key, key master.key: told and not used",
    ),
    (
        rules.referred,
        lambda f: f.append({"kind": "Secret", "metadata": {"name": "kept-smtp"}}),
        "Secret kept-smtp is in the manifests",
    ),
    (
        rules.only_the_sender_sends,
        lambda f: pod(f, "case-worker")["volumes"].append({"name": "mail", "secret": {"secretName": "kept-smtp"}}),
        "case-worker: has kept-smtp",
    ),
    (
        rules.only_the_sender_sends,
        lambda f: (box(f, "notification-sender").pop("env"), pod(f, "notification-sender").pop("volumes")),
        "notification-sender: lacks kept-smtp",
    ),
    (rules.set_up, lambda f: settings(f).update(KEPT_CELL="Main"), "case-api: KEPT_CELL='Main'"),
    (rules.set_up, lambda f: settings(f).update(KEPT_SELL="main"), "case-api: nobody reads KEPT_SELL"),
    (
        rules.set_up,
        lambda f: box(f, "case-worker")["env"].remove(env(f, "case-worker", "KEPT_DATABASE")),
        "case-worker: opens the log, or does not",
    ),
    (
        rules.set_up,
        lambda f: box(f, "gateway")["env"].append({"name": "KEPT_DATABASE", "value": "postgresql://"}),
        "gateway: opens the log, or does not",
    ),
    (
        rules.set_up,
        lambda f: box(f, "case-worker")["env"].remove(env(f, "case-worker", "KEPT_BROKER")),
        "case-worker: KEPT_FOLLOW=copy: there is no copy",
    ),
    (
        rules.connected,
        lambda f: env(f, "gateway", "KEPT_TARGETS").update(value='{"cell": "customer-api:8444"}'),
        "customer-api:8444: a Service or a target, not both",
    ),
    (
        rules.connected,
        lambda f: env(f, "gateway", "KEPT_TARGETS").update(value="{}"),
        "case: the gateway is not told where it answers",
    ),
    (
        rules.reporting,
        lambda f: settings(f).update(KEPT_OTLP_ENDPOINT="http://otel.elsewhere:4318"),
        "http://otel.elsewhere:4318: may not be reached",
    ),
    (rules.closed, lambda f: f.append({"kind": "Ingress", "metadata": {"name": "all"}}), "Ingress all"),
    (
        rules.closed,
        lambda f: find(f, "Service", "case-api")["spec"].update(type="NodePort"),
        "Service case-api is seen from outside",
    ),
    (
        rules.closed,
        lambda f: f.remove(find(f, "NetworkPolicy", "deny")),
        "migrate: not all is denied by default",
    ),
    (
        rules.closed,
        lambda f: policy(f, "answer-the-gateway")["ingress"][0]["from"].append({"podSelector": {}}),
        "case-api: lets others in than the gateway",
    ),
    (
        rules.closed,
        lambda f: policy(f, "send-mail").update(podSelector={}),
        "case-api: may go out by [53, 587, 4318, 5432]",
    ),
    (
        rules.closed,
        lambda f: policy(f, "reach-the-broker").update(podSelector={}),
        "case-api: may go out by [53, 4318, 5432, 5671]",
    ),
]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_what_kubernetes_allows(overlay: str) -> None:
    found = manifests(overlay)

    assert len(found) > 30
    for one in found:
        for version in VERSIONS:
            kubernetes_validate.validate(one, version, strict=True)


def test_a_misspelt_field_is_found() -> None:
    found = manifests("small")
    box(found, "case-api")["readinesProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(find(found, "Deployment", "case-api"), VERSIONS[0], strict=True)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_keeps_the_rule(overlay: str, rule: rules.Rule) -> None:
    assert list(rule(manifests(overlay))) == []


@pytest.mark.parametrize(("rule", "offend", "told"), OFFENCES, ids=[told for _, _, told in OFFENCES])
def test_the_rule_names_what_breaks_it(rule: rules.Rule, offend: Break, told: str) -> None:
    found = manifests("production")
    offend(found)

    assert [problem for problem in rule(found) if problem.startswith(told)] != []


def test_every_rule_was_broken_once() -> None:
    assert {rule for rule, _, _ in OFFENCES} == set(rules.RULES)


@pytest.mark.parametrize(("overlay", "count"), [("small", 1), ("production", 2)])
def test_in_production_somebody_stands_by_for_every_worker(overlay: str, count: int) -> None:
    found = {name(one): one["spec"].get("replicas") for one in of_kind(manifests(overlay), "Deployment")}

    following = {who: replicas for who, replicas in found.items() if who.endswith(("-worker", "-sender"))}
    assert following == dict.fromkeys(following, count)
    assert len(following) == 6


def test_overlays_are_in_the_same_namespace_and_run_one_image() -> None:
    for overlay in OVERLAYS:
        found = manifests(overlay)
        (image,) = {container["image"] for _, _, container in processes(found)}

        assert {one["metadata"].get("namespace", name(one)) for one in found} == {"kept"}
        assert image.partition(":")[2] not in ("", "latest")


def test_rendering_twice_gives_the_same() -> None:
    before = rendered("small")
    rendered.cache_clear()

    assert rendered("small") == before
