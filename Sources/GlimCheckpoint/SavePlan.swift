/// The decisions of a save, apart from its effects: which tensors go to which file, what the files are called, and in
/// which order old and new change places.
package struct SavePlan: Sendable {
    /// One change to the folder.
    package enum Step: Equatable, Sendable {
        /// Give the `file`-th new file its name; past the last file, the new index.
        case publish(file: Int, as: String)
        /// Bring the changes so far to the disk.
        case synchronize
        case remove(String)
    }

    /// The tensors of each file, by index, in the order of their bytes.
    package let files: [[Int]]
    /// As many as `files`.
    package let names: [String]
    package let steps: [Step]
    /// How many steps leave a reader with the old save; from this one on it sees the new.
    package let turningPoint: Int

    package var hasIndex: Bool { files.count > 1 }

    /// - Parameters:
    ///   - byteCounts: of each tensor.
    ///   - alignments: bytes of one element of each; the largest come first, so that every tensor is aligned.
    ///   - maxByteCount: of a file's data; a single larger tensor gets a file of its own.
    ///   - existing: the names of the files in the folder.
    ///   - oldShards: those that the folder's index names.
    ///
    /// The rule that makes every moment loadable: new shards take names that nothing bears, so that the old index stays
    /// true; one rename (of the index, or of the single file, which readers prefer) or one removal (of the old single
    /// file) turns the folder from old to new; only then does anything old go.
    package init(
        byteCounts: [Int], alignments: [Int], maxByteCount: Int, existing: Set<String>, oldShards: Set<String>
    ) {
        var files: [[Int]] = [[]]
        var room = maxByteCount
        for (i, byteCount) in byteCounts.enumerated() {
            if byteCount > room, let last = files.last, !last.isEmpty {
                files.append([])
                room = maxByteCount
            }
            files[files.count - 1].append(i)
            room -= min(room, byteCount)
        }
        self.files = files.map { $0.sorted { (-alignments[$0], $0) < (-alignments[$1], $1) } }

        let hasOldSingle = existing.contains(CheckpointFiles.single)
        var steps: [Step] = []
        if files.count == 1 {
            names = [CheckpointFiles.single]
            turningPoint = 1
            steps = [.publish(file: 0, as: CheckpointFiles.single), .synchronize]
            if existing.contains(CheckpointFiles.index) { steps += [.remove(CheckpointFiles.index), .synchronize] }
        } else {
            names = Self.unusedNames(count: files.count, existing: existing.union(oldShards))
            steps = names.enumerated().map { .publish(file: $0, as: $1) }
            steps += [.synchronize, .publish(file: files.count, as: CheckpointFiles.index), .synchronize]
            if hasOldSingle { steps += [.remove(CheckpointFiles.single), .synchronize] }
            turningPoint = steps.count - 1
        }
        let kept = Set(names).union([CheckpointFiles.single, CheckpointFiles.index])
        let stale = existing.subtracting(kept).filter { oldShards.contains($0) || Self.isShardName($0) }
        self.steps = steps + stale.sorted().map { .remove($0) }
    }

    /// `model-00001-of-00003.safetensors` and so on; if one of those exists, `model-r1-00001-of-00003.safetensors`.
    static func unusedNames(count: Int, existing: Set<String>) -> [String] {
        func padded(_ number: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
        }
        var revision = 0
        while true {
            let stem = revision == 0 ? "model" : "model-r\(revision)"
            let names = (1...count).map { "\(stem)-\(padded($0))-of-\(padded(count)).safetensors" }
            if existing.isDisjoint(with: names) { return names }
            revision += 1
        }
    }

    /// Whether an earlier save, perhaps one that was cut off, may have left a file of that name.
    private static func isShardName(_ name: String) -> Bool {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard let first = parts.first, first == "model", let last = parts.last, last.hasSuffix(".safetensors") else {
            return false
        }
        func isNumber(_ text: Substring) -> Bool { text.count >= 5 && text.allSatisfy(\.isWholeNumber) }
        var numbers = parts.dropFirst()
        if let mark = numbers.first, mark.first == "r", mark.dropFirst().allSatisfy(\.isWholeNumber) {
            numbers = numbers.dropFirst()
        }
        return numbers.count == 3 && isNumber(numbers[numbers.startIndex]) && numbers[numbers.startIndex + 1] == "of"
            && isNumber(last.dropLast(".safetensors".count))
    }
}
