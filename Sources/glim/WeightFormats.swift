import Foundation
import GlimModel

extension ModelConfig.IntegerWeights {
    /// Modules of each format, those of a parent together: "int4" and "int8" as far as there are any, and "full", which
    /// are numbers.
    ///
    /// `mlp.experts.{gate_proj, up_proj} of layers 1-11`; what is named in no way of ours comes as the file has it.
    var modulesByFormat: [(format: String, modules: [String])] {
        let integers = Set(groups.map(\.bits)).sorted().map { bits in
            ("int\(bits)", Self.short(groups.filter { $0.bits == bits }.flatMap(\.targets)))
        }
        // Tables are no linear modules, so that files do not name them.
        return integers + [("full", Self.short(ignored) + ["embed_tokens", "norms"])]
    }

    private static func short(_ targets: [String]) -> [String] {
        struct Place: Hashable {
            var parent: String
            var layers: String
        }
        var order: [Place] = []
        var names: [Place: [String]] = [:]
        for target in targets {
            let (parent, name, layers) = parts(target)
            let place = Place(parent: parent, layers: layers)
            if names[place] == nil { order.append(place) }
            if names[place]?.contains(name) != true { names[place, default: []].append(name) }
        }
        return order.flatMap { place in
            let names = (names[place] ?? []).sorted()
            if place.parent.isEmpty { return names.map { $0 + place.layers } }
            let list = names.count == 1 ? names[0] : "{\(names.joined(separator: ", "))}"
            return ["\(place.parent).\(list)\(place.layers)"]
        }
    }

    /// `re:^model\\.layers\\.(1|2)\\.mlp\\.experts\\.[0-9]+\\.up_proj$` is `up_proj` of `mlp.experts`, ` of layers 1-2`.
    private static func parts(_ target: String) -> (parent: String, name: String, layers: String) {
        guard target.hasPrefix("re:^"), target.hasSuffix("$") else { return ("", target, "") }
        var words = target.dropFirst(4).dropLast().replacing("\\.", with: " ").split(separator: " ").map(String.init)
        var layers = ""
        if words.count > 3, words[0] == "model", words[1] == "layers" {
            let numbers = words[2].trimmingCharacters(in: ["(", ")"]).split(separator: "|").compactMap { Int($0) }
            if !numbers.isEmpty { layers = " of layer\(numbers.count == 1 ? "" : "s") " + ranges(numbers) }
            words.removeFirst(3)
        }
        words.removeAll { $0 == "[0-9]+" }
        return (words.dropLast().joined(separator: "."), words.last ?? target, layers)
    }

    /// `1-3, 5` of ascending numbers.
    private static func ranges(_ numbers: [Int]) -> String {
        var ranges: [ClosedRange<Int>] = []
        for number in numbers {
            if let last = ranges.last, last.upperBound + 1 == number {
                ranges[ranges.count - 1] = last.lowerBound...number
            } else {
                ranges.append(number...number)
            }
        }
        return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            .joined(separator: ", ")
    }
}
