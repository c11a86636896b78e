import GlimModel

/// What a short `glim conformance` says: all but the properties of long texts, on the built-in networks.
struct AttentionCheck {
    var results: [ConformanceResult]

    static func run() -> AttentionCheck {
        let names = Set(ConformanceSuite.properties.map(\.name)).subtracting(long)
        return AttentionCheck(results: ConformanceSuite(ModelEngine()).run(names))
    }

    private static let long: Set = ["arithmetic past 2^17 keys", "recall by index score", "needle recall"]

    var finding: Finding {
        let name = "attention"
        if let bad = results.first(where: { $0.status == .failed }) {
            return Finding(
                name: name, status: .poor, found: "\(bad.name) does not hold: \(bad.detail)",
                advice: "Report it with the output of glim conformance.")
        }
        let asked = results.count { $0.status == .passed }
        return Finding(
            name: name, status: .good,
            found: "\(asked) properties of sparse attention hold (glim conformance asks for all)")
    }
}
