"""Two load balancers, three masters, three workers: a highly available cluster."""

from k8sha import SSH, Bundle, Cluster, ControlPlane, Host, LoadBalancer, Upstream, Workers, script
from k8sha.addons import HostRoutes

ssh = SSH(user="vagrant", key="~/.ssh/k8sha")


def host(name: str, last: int) -> Host:
    return Host(name, f"192.168.56.{last}", ssh=ssh)


balancers = [host("lb-1", 101), host("lb-2", 102)]
masters = [host("master-1", 10), host("master-2", 11), host("master-3", 12)]
machines = [host("worker-1", 20), host("worker-2", 21), host("worker-3", 22)]

lb = LoadBalancer(balancers, vip="192.168.56.100", backends=masters)
plane = ControlPlane(hosts=masters, endpoint=lb.endpoint, version="1.33.13", source=Bundle.find() or Upstream())
workers = Workers(hosts=machines, plane=plane)
cluster = Cluster(lb, plane, workers, HostRoutes(plane, workers))

if __name__ == "__main__":
    with script(), cluster:  # Ctrl-C and errors end it with a message
        plan = cluster.plan()
        print(plan)  # a diff, host by host; nothing has been touched
        if plan and input("install? ") == "yes":
            print(cluster.install())
        cluster.verify()  # raises VerifyError with everything that is wrong
        print("the cluster is what it should be")
