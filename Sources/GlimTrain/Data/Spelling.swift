import Foundation

/// Helps a person who mistyped.
enum Spelling {
    /// The known word that is meant, or all of them if none is near.
    static func hint(for word: String, among known: [String]) -> String {
        let lower = word.lowercased().replacingOccurrences(of: "-", with: "_")
        let ranked = known.map { (distance(Array(lower.utf8), Array($0.utf8)), $0) }.min { $0 < $1 }
        let isInside = known.first { lower.count >= 3 && ($0.contains(lower) || lower.contains($0) && $0.count > 3) }
        if let (distance, nearest) = ranked, distance <= max(1, nearest.count / 3) {
            return "did you mean \(nearest)?"
        }
        if let isInside { return "did you mean \(isInside)?" }
        return "known keys are \(known.joined(separator: ", "))"
    }

    /// How many letters must be put in, left out or changed to get from one word to the other.
    static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        // A key of a thousand letters is no misspelling of anything.
        guard a.count <= 64, b.count <= 64 else { return max(a.count, b.count) }
        var row = Array(0...b.count)
        for i in a.indices {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1))
                diagonal = above
            }
        }
        return row[b.count]
    }
}
