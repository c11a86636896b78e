import ArgumentParser

/// A count of bytes as people write it: 8589934592, 8GiB, 1.5GB.
struct ByteCount: ExpressibleByArgument {
    let count: Int

    init?(argument: String) {
        let units = ["": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12]
            .merging(["KiB": 0x1p10, "MiB": 0x1p20, "GiB": 0x1p30, "TiB": 0x1p40]) { first, _ in first }
        let digits = argument.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let number = Double(digits), let unit = units[String(argument.dropFirst(digits.count))] else {
            return nil
        }
        let bytes = number * unit
        guard bytes >= 1, bytes < 0x1p60 else { return nil }
        count = Int(bytes)
    }
}
