"""The files of kube-prometheus, pinned: Prometheus, Alertmanager, Grafana, what they look with, and their definitions.

Left out are prometheus-adapter, which serves the same API as metrics-server; the blackbox exporter, which nothing here
asks; and the network policies, which would keep the API server's own proxy out, by which ``verify`` asks.
"""

from __future__ import annotations

from k8sha.addons.manifests import Manifest

__all__ = ["FILES", "VERSION"]

VERSION = "v0.18.0"
"""Tested upstream with Kubernetes 1.33 to 1.36, by its own README."""

_URL = "https://raw.githubusercontent.com/prometheus-operator/kube-prometheus/{}/manifests/{}.yaml"
_SUMS = (
    ("alertmanager-alertmanager", "0e32a2ed56f7458601508488c0a59a7bb93c68ee6fcf3d6a61110f5625fd2979"),
    ("alertmanager-podDisruptionBudget", "89cec96cb303a464115f7779df95079b6d38ac82821a071b9e74142d426e0a0f"),
    ("alertmanager-prometheusRule", "9b1baef5d106e0898f90c3904f9b24b872990f6a8f6368e3408547aec70bebaf"),
    ("alertmanager-secret", "a667ff3ec9849d9f0c81a65797a0cc615700e92bd68bd0d19f16e4df26bd88e3"),
    ("alertmanager-service", "07baec32eda9aff77d53a19ed7824b9f720208d869fd6f001b9aaee8c889bcb4"),
    ("alertmanager-serviceAccount", "6c76dbd005fe0c8b38467aa32a78ad3322fb4ceae892b4a560bc240fb4256da7"),
    ("alertmanager-serviceMonitor", "c461a4b08374ed80a4645b1e73c41a3ce7e0dc618ddd0beeaee4e295de02ac8b"),
    ("grafana-config", "f07e5a7d8a4703cccf387a2a8d9ae1aaf33963d82480496dc9445de4065efe51"),
    ("grafana-dashboardDatasources", "f84503bf0c73c103170b340a725af224a8dd76e16832f8fe9211a868088b12bc"),
    ("grafana-dashboardDefinitions", "b4492fa3ca625efc360d568b7a387634490a1109090f970320c2528d6f4f28fe"),
    ("grafana-dashboardSources", "3f3ec66a2ab47d975bbdbd69db31ec35273d465a733878cdcb2babed8f75ff38"),
    ("grafana-deployment", "755b64591ac079441563c7f8808c5299d06875d320a1288576590e635979276d"),
    ("grafana-prometheusRule", "3c0f8c0b009d86a3a802eeb00e92659a658b458b7858b85b7838faf0c0824d23"),
    ("grafana-service", "b265328320860125a66a226de71e7c1e08e3b03aed069daa40ab5b8d87871650"),
    ("grafana-serviceAccount", "c73872487c2b5ec28c306a58dd8c519107ce9e2edab31bf2ccc0c4bdc98657bf"),
    ("grafana-serviceMonitor", "11e03c3ee44ba986226fbdc1d7eb550eff88c89920f7fd77574af106cb742cb9"),
    ("kubePrometheus-prometheusRule", "5bf4529862bf908953a6331c926d9a21435a69b0946187bbf40fcb17e62231c6"),
    ("kubeStateMetrics-clusterRole", "1c98679658682d6b8e1a1965ca7bb6224260742aa9ef150db65c7cb308eaff67"),
    ("kubeStateMetrics-clusterRoleBinding", "4c5c9b58147cf953a1092a950b355db8b6b7b31c02229b6b22c8751a529e8fe8"),
    ("kubeStateMetrics-deployment", "4019e3beab58ad783348b0bd8f69551cfc6d2ce11726ef34c6b00b8b88df0dbe"),
    ("kubeStateMetrics-prometheusRule", "7f1526179e411329db33d5644d1672f93f1f942895f8f738e244e6b8533ec144"),
    ("kubeStateMetrics-service", "feb4f5fa80710a34ed069de091ac4073e56ac04f07693c1325b83332a9b291aa"),
    ("kubeStateMetrics-serviceAccount", "2502e898bed1ee62fd4af4107d65355126213b14ad36d19ac861d898a760c513"),
    ("kubeStateMetrics-serviceMonitor", "15e26fd7028b435be81c89a1f01680b659bc01aceeae21e1fcef192a6ece5356"),
    ("kubernetesControlPlane-prometheusRule", "285016751ea25328d5130b6b2b78d422ecd76281025731ad5c52391d00361e88"),
    (
        "kubernetesControlPlane-serviceMonitorApiserver",
        "c9da3b711903f70d386a8c6adad5cbead1f56987ed1f203f1ee71579b435980c",
    ),
    (
        "kubernetesControlPlane-serviceMonitorCoreDNS",
        "a4c9f4d7ca3298c04c73ab105f03fb5422c05cd37fa072373170abf4b8640450",
    ),
    (
        "kubernetesControlPlane-serviceMonitorKubeControllerManager",
        "95dee25218a9886e938861de05a51dd56310f0871d891f6bf7ce8517644491b2",
    ),
    (
        "kubernetesControlPlane-serviceMonitorKubeScheduler",
        "3e00fc58c019976b063814f3152f20fe09a0dbe2b635a4d737044a14bf0e12e2",
    ),
    (
        "kubernetesControlPlane-serviceMonitorKubelet",
        "d5df62f38aee95e064f0c07a55b72e5e60f454a6b59a857117fec40b7d55cc76",
    ),
    ("nodeExporter-clusterRole", "982afa5f5c73330d39b5241e90b025549c601a952909424a8be0ab8dd8f3ad52"),
    ("nodeExporter-clusterRoleBinding", "185b2f61f37a0f3d0da6088a25c31d7fb83533eaab0a991d1e45711654546532"),
    ("nodeExporter-daemonset", "3be7db37660cc5b6205d749240842866d5605343fb58a2178c29ced15b829776"),
    ("nodeExporter-prometheusRule", "5822dd3127cb2fcd51d79295a9d548e950aae93ec6a9708853ececfad4d841f2"),
    ("nodeExporter-service", "b02d68dac362aa748a3402c111a9ea0e51517cae8de5805dbacc1314449e536d"),
    ("nodeExporter-serviceAccount", "6e8c02c40a8e26b239940eb64e747410936f20b409daae10ed58b4dfb34a9249"),
    ("nodeExporter-serviceMonitor", "e7bffd05881c73dfae911166ea401e5ca91ad0884849a9247a8974428a6f18db"),
    ("prometheus-clusterRole", "c21b6a00e1caa114d029306babeff10f2eeb0fabc663f6ac37005ee62e8932bb"),
    ("prometheus-clusterRoleBinding", "a88a673ac17f56618a039e2ac47e7a1b038bd06af047436fda3f2ce077e0a328"),
    ("prometheus-podDisruptionBudget", "66c87c2b067962c2e01aac05d6429af9afee7e7a14fb0946c5eb4370f6c0c681"),
    ("prometheus-prometheus", "661c1e86d16de5be239870e17a53e2629a957f5a70645d6ca0ff75ee8ec41c09"),
    ("prometheus-prometheusRule", "fa545d1f7ee18b323a897a988b3ed54df8f52f4eef5a1634b598cf6c7120502f"),
    ("prometheus-roleBindingConfig", "e645ac8489f730d87dae30217a4949ef688f49e05e504d212b0f3e150f8d0d0b"),
    ("prometheus-roleBindingSpecificNamespaces", "85a4cab9e8e045fbe0ee7742cf090ab86468fd88dbde637e26fdcc6eb437dfb2"),
    ("prometheus-roleConfig", "47851a924b6f46e36cff37e86bd688a8b097bd1c5a24ffef79a790029711e3c3"),
    ("prometheus-roleSpecificNamespaces", "c4542cc9cbe0e840191cda9c3523b31195c5541bc9c1e5c8301e9136b95a3229"),
    ("prometheus-service", "3d646544c36240cfdb46a75348075ea4d1df9123532bdf093a8f8a02b2782d4d"),
    ("prometheus-serviceAccount", "38b15e52e58131f918fa1d68199bba90a680ee43ee3c35f3197b89db7e789166"),
    ("prometheus-serviceMonitor", "360014f28171a84b3506f50fb716cd33927496ac29bf4efa3dc055e174e05411"),
    ("prometheusOperator-clusterRole", "a1e64fa61e3319d80ee665cf38cfe2c1fa63540b78f59a1eb2d1e82459a41e19"),
    ("prometheusOperator-clusterRoleBinding", "4b605d8c19995747a50cbaf7145f7759b72c812f9f86040a368f4f99c1af216a"),
    ("prometheusOperator-deployment", "1ce298e2ee11d54e3dd6c3e4feae563f09c72e12eb4305ea56432bf9611b91fd"),
    ("prometheusOperator-prometheusRule", "71e75d269449dd37fd8fb1c531fea7985b425cbff2221401e8a03b6839c27c37"),
    ("prometheusOperator-service", "dc9858433a31e24c7d701b848097a807659e34c44ab0bd2df8b4ee83070f71b9"),
    ("prometheusOperator-serviceAccount", "39d053792f1e88b45994b4ca91645102d078e3ee4aaa2dd47a437619bed9ccd4"),
    ("prometheusOperator-serviceMonitor", "517b47303c6ff3b26ad6423c95ddf8a442d93c7ff4a15c5cfea2b877453d168d"),
    (
        "setup/0alertmanagerConfigCustomResourceDefinition",
        "d7c203e0e2fc6b00736a95637f39ae7df1873aebbf48a03d9e18f5a4b6d020b1",
    ),
    ("setup/0alertmanagerCustomResourceDefinition", "fda6edbff1621451af5538624cc73c376f4ad2e4c772a246356355b4e185b76c"),
    ("setup/0podmonitorCustomResourceDefinition", "8b11480268f6bde4413b4e7329859bdd6c78b20f5916dac0d388566920d5fe39"),
    ("setup/0probeCustomResourceDefinition", "283b380763a68474405f874c12532190e2ec9474226b40474dbd9b00730a24a8"),
    ("setup/0prometheusCustomResourceDefinition", "f6a6df3da95574cb2ca9bdf63f0a4fcae4ace73dfbf20f60b9bb71639dbd67b0"),
    (
        "setup/0prometheusagentCustomResourceDefinition",
        "5b992e30a7bc377e35c761a68e5092ce8a29f1b8cdeaf0c2d69b1c4f6e5794ce",
    ),
    (
        "setup/0prometheusruleCustomResourceDefinition",
        "f415488dee5197944ef9dd66b31ca2adeb23a1026f82b85a85748df5191fc70b",
    ),
    ("setup/0scrapeconfigCustomResourceDefinition", "8c6ea4f7925fcb0b360d1fb3517c6b89bb480ba877f9eb9200dd1e6d125bd82f"),
    (
        "setup/0servicemonitorCustomResourceDefinition",
        "7de62ca93f40120970cc2d6a429da2f2e0a7129a14b31f2a7c507d2190771661",
    ),
    ("setup/0thanosrulerCustomResourceDefinition", "fb41ee70a22d39c902a50523d9d32f4d4dfd7fee0ccfebdf5f2221eabfe23232"),
    ("setup/namespace", "b1203a107dad0d01d2024178b2006f0d3bad911202d1fe0e9474ec822066ac7f"),
)

FILES = tuple(
    Manifest(f"kube-prometheus-{name.replace('/', '-')}", VERSION, _URL.format(VERSION, name), sha256)
    for name, sha256 in _SUMS
)
