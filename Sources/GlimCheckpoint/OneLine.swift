extension String {
    /// The same text as one line that a terminal shows as it stands: errors quote names from damaged files, which may
    /// hold line breaks, escape sequences and megabytes.
    package var onOneLine: String {
        var (line, count) = (String.UnicodeScalarView(), 0)
        for scalar in unicodeScalars {
            if count == Self.longestLine { return String(line) + "…" }
            switch scalar.properties.generalCategory {
            case .lineSeparator, .paragraphSeparator: line.append(" ")
            case .control: line.append(scalar == "\n" || scalar == "\t" ? " " : "?")
            // Characters without a shape of their own can turn the rest of a line around.
            case .format: line.append("?")
            default: line.append(scalar)
            }
            count += 1
        }
        return String(line)
    }

    private static let longestLine = 2000
}
