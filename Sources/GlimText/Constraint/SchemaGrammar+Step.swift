// What a byte does. Most places go on in one way; where a value may be read as one of several choices, in several.

extension SchemaGrammar {
    var start: Configuration { Configuration(frame: nil, place: .value(node: root, spaces: 0)) }

    /// Whether the document may end here.
    func isComplete(_ configuration: Configuration) -> Bool {
        if configuration.frame != nil { return false }
        switch configuration.place {
        case .afterValue: return true
        case .text(let state): return machines.accepts(state)
        case .number(let range, let progress): return numbers[range].accepts(progress)
        default: return false
        }
    }

    /// Appends the ways in which the byte can be read here; none where it cannot.
    func step(_ configuration: Configuration, _ byte: UInt8, into out: inout [Configuration]) {
        let frame = configuration.frame
        func go(_ place: Configuration.Place) { out.append(Configuration(frame: frame, place: place)) }
        switch configuration.place {
        case .value(let node, let spaces):
            if let spaces = space(byte, spaces, frame) {
                go(.value(node: node, spaces: spaces))
            } else {
                begin(node, byte, in: frame, into: &out)
            }
        case .text(let state):
            let next = machines.next(state, byte)
            if next >= 0 {
                go(text(next))
            } else if machines.accepts(state) {
                stepAfterValue(frame, 0, byte, into: &out)
            }
        case .string(let progress):
            guard let next = progress.next(byte) else { return }
            go(next.lexer == StringLexer.closed ? .afterValue(spaces: 0) : .string(next))
        case .number(let range, let progress):
            if let next = numbers[range].next(progress, byte) {
                go(.number(range, next))
            } else if numbers[range].accepts(progress) {
                stepAfterValue(frame, 0, byte, into: &out)
            }
        case .firstItem(let spaces):
            guard let frame, case .array(let array, _) = frame.container else { return }
            if let spaces = space(byte, spaces, frame) {
                go(.firstItem(spaces: spaces))
            } else if byte == UInt8(ascii: "]") {
                if arrays[array].rule.least == 0 { out.append(behind(frame)) }
            } else if let next = item(of: frame) {
                begin(next.node, byte, in: next.frame, into: &out)
            }
        case .firstKey(let spaces):
            guard let frame, case .object(let object, let members) = frame.container else { return }
            if let spaces = space(byte, spaces, frame) {
                go(.firstKey(spaces: spaces))
            } else if byte == UInt8(ascii: "}") {
                if mayClose(object, members) { out.append(behind(frame)) }
            } else if byte == UInt8(ascii: "\""), let place = key(object, members, frame) {
                go(place)
            }
        case .nextKey(let spaces):
            guard let frame, case .object(let object, let members) = frame.container else { return }
            if let spaces = space(byte, spaces, frame) {
                go(.nextKey(spaces: spaces))
            } else if byte == UInt8(ascii: "\""), let place = key(object, members, frame) {
                go(place)
            }
        case .knownKey(let properties, let offset):
            stepKnownKey(frame, properties, offset, byte, into: &out)
        case .anyKey(let lexer, let name):
            let next = StringLexer.oneSpelling.next(lexer, byte)
            if next == StringLexer.closed {
                if let end = endKey(frame, name + [byte]) { out.append(end) }
            } else if next != StringLexer.dead {
                go(.anyKey(next, name: name + [byte]))
            }
        case .colon(let node, let spaces):
            if let spaces = space(byte, spaces, frame) {
                go(.colon(node: node, spaces: spaces))
            } else if byte == UInt8(ascii: ":") {
                go(.value(node: node, spaces: 0))
            }
        case .afterValue(let spaces): stepAfterValue(frame, spaces, byte, into: &out)
        }
    }

    // MARK: White space

    /// The count with this byte, nil where it is no white space or one too much: there is room for a line break and an
    /// indentation of four columns for each container.
    private func space(_ byte: UInt8, _ spaces: Int, _ frame: Frame?) -> Int? {
        guard byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return nil }
        return spaces < 2 + 4 * (frame?.depth ?? 0) ? spaces + 1 : nil
    }

    // MARK: Values

    private func room(_ frame: Frame?) -> Int { Self.maximumDepth - (frame?.depth ?? 0) }

    private func text(_ state: Int32) -> Configuration.Place {
        machines.isTerminal(state) ? .afterValue(spaces: 0) : .text(state)
    }

    private func begin(_ node: Int, _ byte: UInt8, in frame: Frame?, into out: inout [Configuration]) {
        func go(_ place: Configuration.Place, _ frame: Frame?) {
            out.append(Configuration(frame: frame, place: place))
        }
        for start in nodes[node].texts {
            let next = machines.next(start, byte)
            if next >= 0 { go(text(next), frame) }
        }
        switch byte {
        case UInt8(ascii: "\""):
            for length in nodes[node].strings {
                go(.string(.init(lexer: StringLexer.body, least: length.least, most: length.most)), frame)
            }
        case UInt8(ascii: "["):
            for array in nodes[node].arrays where arrays[array].height <= room(frame) {
                go(.firstItem(spaces: 0), Frame(.array(array, count: 0), in: frame))
            }
        case UInt8(ascii: "{"):
            for object in nodes[node].objects where objects[object].height <= room(frame) {
                go(.firstKey(spaces: 0), Frame(.object(object, .init(of: objects[object])), in: frame))
            }
        default:
            for range in nodes[node].numbers {
                if let progress = numbers[range].next(nil, byte) { go(.number(range, progress), frame) }
            }
        }
    }

    /// The place behind the container that this is.
    private func behind(_ frame: Frame) -> Configuration {
        Configuration(frame: frame.parent, place: .afterValue(spaces: 0))
    }

    private func stepAfterValue(_ frame: Frame?, _ spaces: Int, _ byte: UInt8, into out: inout [Configuration]) {
        if let spaces = space(byte, spaces, frame) {
            return out.append(Configuration(frame: frame, place: .afterValue(spaces: spaces)))
        }
        guard let frame else { return }
        switch (frame.container, byte) {
        case (.array, UInt8(ascii: ",")):
            guard let next = item(of: frame) else { return }
            out.append(Configuration(frame: next.frame, place: .value(node: next.node, spaces: 0)))
        case (.array(let array, let count), UInt8(ascii: "]")):
            if count >= arrays[array].rule.least { out.append(behind(frame)) }
        case (.object(let object, let members), UInt8(ascii: ",")):
            if key(object, members, frame) != nil {
                out.append(Configuration(frame: frame, place: .nextKey(spaces: 0)))
            }
        case (.object(let object, let members), UInt8(ascii: "}")):
            if mayClose(object, members) { out.append(behind(frame)) }
        default: break
        }
    }

    // MARK: Arrays

    /// The array with one more item begun, and the item's node; nil where there may be none.
    private func item(of frame: Frame) -> (frame: Frame, node: Int)? {
        guard case .array(let array, let count) = frame.container else { return nil }
        let (rule, limit) = (arrays[array].rule, arrays[array].countingLimit)
        let node = rule.item(count)
        guard count < rule.most ?? .max, nodes[node].height <= room(frame) else { return nil }
        return (Frame(.array(array, count: min(count + 1, limit)), in: frame.parent), node)
    }

    // MARK: Objects

    private func mayClose(_ object: Int, _ members: Frame.Members) -> Bool {
        members.missingCount == 0 && members.count >= objects[object].rule.least
    }

    /// Whether the count allows one more key.
    private func hasRoom(_ object: Int, _ members: Frame.Members, isRequired: Bool) -> Bool {
        guard let most = objects[object].rule.most else { return true }
        return members.count + 1 + members.missingCount - (isRequired ? 1 : 0) <= most
    }

    /// Whether this property may come next.
    private func allows(_ property: Int, _ object: Int, _ members: Frame.Members, _ frame: Frame) -> Bool {
        let rule = objects[object].rule.properties[property]
        return !members.contains(property) && nodes[rule.node].height <= room(frame)
            && hasRoom(object, members, isRequired: rule.isRequired)
    }

    /// Where the next key is read; nil where there may be none.
    private func key(_ object: Int, _ members: Frame.Members, _ frame: Frame) -> Configuration.Place? {
        let rule = objects[object].rule
        if nodes[rule.additional].height <= room(frame), hasRoom(object, members, isRequired: false) {
            return .anyKey(StringLexer.body, name: [])
        }
        let all = rule.properties.indices
        return all.contains { allows($0, object, members, frame) } ? .knownKey(properties: all, offset: 0) : nil
    }

    private func stepKnownKey(
        _ frame: Frame?, _ properties: Range<Int>, _ offset: Int, _ byte: UInt8, into out: inout [Configuration]
    ) {
        guard let frame, case .object(let object, let members) = frame.container else { return }
        let all = objects[object].rule.properties
        // They agree up to here, so those that go on with one byte stand together.
        guard let first = properties.first(where: { all[$0].name[offset] == byte }) else { return }
        let end = (first..<properties.upperBound).first { all[$0].name[offset] != byte } ?? properties.upperBound
        if offset + 1 == all[first].name.count {
            if let end = endKey(frame, all[first].name) { out.append(end) }
        } else if (first..<end).contains(where: { allows($0, object, members, frame) }) {
            out.append(Configuration(frame: frame, place: .knownKey(properties: first..<end, offset: offset + 1)))
        }
    }

    /// The place behind a key; nil where the object must not have it, or has it already.
    ///
    /// - Parameter name: as it is written behind the opening quotation mark.
    func endKey(_ frame: Frame?, _ name: [UInt8]) -> Configuration? {
        guard let frame, case .object(let object, let members) = frame.container else { return nil }
        let rule = objects[object].rule
        let (node, next): (Int, Frame.Members)
        if let property = Self.property(name, of: rule) {
            guard allows(property, object, members, frame) else { return nil }
            node = rule.properties[property].node
            next = members.adding(property, isRequired: rule.properties[property].isRequired)
        } else {
            if members.contains(name) { return nil }
            (node, next) = (rule.additional, members.adding(name))
        }
        return Configuration(
            frame: Frame(.object(object, next), in: frame.parent), place: .colon(node: node, spaces: 0))
    }

    /// The names that a key must not have, as they are written behind the opening quotation mark.
    func namesTaken(_ frame: Frame?) -> [[UInt8]] {
        guard let frame, case .object(let object, let members) = frame.container else { return [] }
        let properties = objects[object].rule.properties
        let taken = properties.indices.filter { !allows($0, object, members, frame) }
        return members.others + taken.map { properties[$0].name }
    }

    private static func property(_ name: [UInt8], of rule: ObjectRule) -> Int? {
        var range = rule.properties.indices
        while !range.isEmpty {
            let middle = range.lowerBound + range.count / 2
            if rule.properties[middle].name == name { return middle }
            if rule.properties[middle].name.lexicographicallyPrecedes(name) {
                range = middle + 1..<range.upperBound
            } else {
                range = range.lowerBound..<middle
            }
        }
        return nil
    }
}
