/// The formats of strings and numbers that can be had exactly.
enum SchemaFormat {
    /// Of strings, as patterns. Sources: RFC 3339 (date, time, date-time, duration of appendix A; leap seconds aside),
    /// RFC 4122 (uuid), RFC 2673 section 3.2 (ipv4).
    static let patterns: [String: String] = [
        "date": "^\(date)$", "time": "^\(time)$", "date-time": "^\(date)[Tt]\(time)$",
        "duration": #"^P(?:(?:\d+D|\d+M(?:\d+D)?|\d+Y(?:\d+M(?:\d+D)?)?)(?:\#(span))?|\#(span)|\d+W)$"#,
        "uuid": "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        "ipv4": #"^\#(octet)(?:\.\#(octet)){3}$"#,
    ]

    /// Of numbers, as OpenAPI and generators of schemas name them: the least and the greatest, where there are such.
    static let numbers: [String: (least: String, most: String)?] = [
        "int8": ("-128", "127"), "int16": ("-32768", "32767"), "int32": ("-2147483648", "2147483647"),
        "int64": ("-9223372036854775808", "9223372036854775807"),
        "int": ("-9223372036854775808", "9223372036854775807"),
        "uint8": ("0", "255"), "uint16": ("0", "65535"), "uint32": ("0", "4294967295"),
        "uint64": ("0", "18446744073709551615"), "uint": ("0", "18446744073709551615"),
        "float": .none, "double": .none,
    ]

    private static let date =
        #"(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"#
        + #"|02-(?:0[1-9]|1\d|2[0-8]))"#
        + #"|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"#
    private static let time =
        #"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)"#
    private static let span = #"T(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)"#
    private static let octet = #"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"#
}
