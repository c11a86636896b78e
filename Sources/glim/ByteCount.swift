import ArgumentParser

/// A count of bytes as people write it: 8589934592, 8GiB, 1.5GB, in letters of either size.
struct ByteCount: ExpressibleByArgument {
    let count: Int

    init?(argument: String) {
        let units = ["": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12]
            .merging(["kib": 0x1p10, "mib": 0x1p20, "gib": 0x1p30, "tib": 0x1p40]) { first, _ in first }
        let digits = argument.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let number = Double(digits), let unit = units[argument.dropFirst(digits.count).lowercased()] else {
            return nil
        }
        let bytes = number * unit
        guard bytes >= 1, bytes < 0x1p60 else { return nil }
        count = Int(bytes)
    }
}
