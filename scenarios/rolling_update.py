"""Scaling and rolling updates without a lost connection.

A Deployment replaces its Pods step by step. Each new Pod must be ready before it gets traffic, and
each old one should go on serving for a while after it was told to stop: until every node has
learnt that it is no endpoint any more. That while is the preStop sleep. Without it some node still
sends connections to a Pod that has closed its socket already.

A client connects again and again during all of it, and every connection must be answered.
"""

from testbed.cluster import Cluster
from testbed.scenario import Steps, scenario
from testbed.scenario.expect import check
from testbed.scenario.traffic import Traffic, answers, told

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: echo:1
        lifecycle: {preStop: {sleep: {seconds: 5}}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""
#: Rounds of five seconds in which a rolling update must have ended.
ROUNDS = 20


@scenario("Scaling and rolling update under traffic: no connection is lost")
def rolling_update(lab: Cluster, steps: Steps) -> None:
    lab.apply(DEPLOYMENT, SERVICE)
    target = f"{lab.node_addresses('w1')[0]}:30080"

    with Traffic(lab, "client", target) as traffic:
        with steps("A client connects all the time; three Pods serve it"):
            traffic.more()

        for count in (6, 2):
            with steps(f"The Deployment is scaled to {count}"):
                lab.scale("deployment/web", count)
                traffic.more()
                lab.advance(6)
                traffic.more()
                check(len(lab.pods("web")) == count, f"{count} Pods run")

        before = {each.key.name for each in lab.pods("web")}
        with steps("A new version rolls out"):
            lab.apply(DEPLOYMENT.replace("echo:1", "echo:2"))
            for _ in range(ROUNDS):
                traffic.more(10)
                if len(names := {each.key.name for each in lab.pods("web")}) == 2 and not (
                    names & before
                ):
                    break
                lab.advance(5)
            check(not names & before, "every Pod is a new one", ", ".join(sorted(names)))
            traffic.more()

    with steps("Every connection was answered"):
        lost = [outcome.error or outcome.kind for outcome in traffic.failures]
        check(not lost, f"{traffic.total} connections, none lost", f"{len(lost)}: {lost[:3]}")
        steps.note(f"{len(traffic.counts)} Pods took part: {told(traffic.counts)}")
        seen = answers(lab, "client", target)
        check(not set(seen) & before, "only new Pods answer now", told(seen))
