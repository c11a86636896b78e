// How values of each kind are read from a recipe and checked.

extension TrainRecipe {
    static func text(_ key: CodingKeys, _ path: Path<String>) -> Field {
        text(key, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    static func text(_ key: CodingKeys, _ path: Path<String?>) -> Field {
        text(key, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    static func text(
        _ key: CodingKeys, set: @escaping @Sendable (inout TrainRecipe, String) -> Void,
        get: @escaping @Sendable (TrainRecipe) -> String?
    ) -> Field {
        Field(
            key: key,
            set: { recipe, value in
                guard case .text(let text) = value else { return "expected a string, found \(value.kind)" }
                set(&recipe, text)
                return nil
            }, get: { get($0).map(Value.text) },
            check: { if case .text(let text) = $0, text.isEmpty { "an empty string" } else { nil } })
    }

    static func choice<C: RawRepresentable<String> & CaseIterable & Sendable>(
        _ key: CodingKeys, _ path: Path<C>
    ) -> Field {
        choice(key, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    static func choice<C: RawRepresentable<String> & CaseIterable & Sendable>(
        _ key: CodingKeys, _ path: Path<C?>
    ) -> Field {
        choice(key, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    static func choice<C: RawRepresentable<String> & CaseIterable & Sendable>(
        _ key: CodingKeys, set: @escaping @Sendable (inout TrainRecipe, C) -> Void,
        get: @escaping @Sendable (TrainRecipe) -> C?
    ) -> Field {
        let choices = C.allCases.map { ($0.rawValue, $0) }
        return Field(
            key: key,
            set: { recipe, value in
                guard case .text(let text) = value else { return "expected a string, found \(value.kind)" }
                guard let (_, choice) = choices.first(where: { $0.0 == text }) else {
                    return "\"\(text)\" is not one of \(choices.map(\.0).joined(separator: ", "))"
                }
                set(&recipe, choice)
                return nil
            }, get: { get($0).map { .text($0.rawValue) } }, check: { _ in nil })
    }

    static func count(_ key: CodingKeys, _ path: Path<Int>, _ range: ClosedRange<Int>) -> Field {
        count(key, range, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    static func count(_ key: CodingKeys, _ path: Path<Int?>, _ range: ClosedRange<Int>) -> Field {
        count(key, range, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    static func count(
        _ key: CodingKeys, _ range: ClosedRange<Int>, set: @escaping @Sendable (inout TrainRecipe, Int) -> Void,
        get: @escaping @Sendable (TrainRecipe) -> Int?
    ) -> Field {
        let check: @Sendable (Value) -> String? = { value in
            guard case .integer(let count) = value, !range.contains(count) else { return nil }
            return "\(count) is not within \(range.lowerBound)...\(range.upperBound)"
        }
        return Field(
            key: key,
            set: { recipe, value in
                guard case .integer(let count) = value else { return "expected an integer, found \(value.kind)" }
                if let wrong = check(value) { return wrong }
                set(&recipe, count)
                return nil
            }, get: { get($0).map(Value.integer) }, check: check)
    }

    static func number(_ key: CodingKeys, _ path: Path<Double>, _ range: ClosedRange<Double>) -> Field {
        number(key, range, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    static func number(_ key: CodingKeys, _ path: Path<Double?>, _ range: ClosedRange<Double>) -> Field {
        number(key, range, set: { $0[keyPath: path] = $1 }, get: { $0[keyPath: path] })
    }

    static func number(
        _ key: CodingKeys, _ range: ClosedRange<Double>, set: @escaping @Sendable (inout TrainRecipe, Double) -> Void,
        get: @escaping @Sendable (TrainRecipe) -> Double?
    ) -> Field {
        let check: @Sendable (Value) -> String? = { value in
            guard case .number(let number) = value, !range.contains(number) else { return nil }
            return "\(number) is not within \(range.lowerBound)...\(range.upperBound)"
        }
        return Field(
            key: key,
            set: { recipe, value in
                let number: Double
                switch value {
                case .number(let found): number = found
                case .integer(let found): number = Double(found)
                default: return "expected a number, found \(value.kind)"
                }
                if let wrong = check(.number(number)) { return wrong }
                set(&recipe, number)
                return nil
            }, get: { get($0).map(Value.number) }, check: check)
    }

    static func flag(_ key: CodingKeys, _ path: Path<Bool?>) -> Field {
        Field(
            key: key,
            set: { recipe, value in
                guard case .flag(let flag) = value else { return "expected true or false, found \(value.kind)" }
                recipe[keyPath: path] = flag
                return nil
            }, get: { $0[keyPath: path].map(Value.flag) }, check: { _ in nil })
    }

    /// A list of strings; one alone may stand for a list of one.
    static func texts(
        _ key: CodingKeys, _ path: Path<[String]>, check: @escaping @Sendable ([String]) -> String?
    ) -> Field {
        Field(
            key: key,
            set: { recipe, value in
                switch value {
                case .texts(let list): recipe[keyPath: path] = list
                case .text(let one): recipe[keyPath: path] = [one]
                default: return "expected an array of strings, found \(value.kind)"
                }
                return nil
            }, get: { .texts($0[keyPath: path]) },
            check: { if case .texts(let list) = $0 { check(list) } else { nil } })
    }

    static func counts(_ key: CodingKeys, _ path: Path<[Int]>, _ range: ClosedRange<Int>) -> Field {
        Field(
            key: key,
            set: { recipe, value in
                switch value {
                case .integers(let list): recipe[keyPath: path] = list
                case .integer(let one): recipe[keyPath: path] = [one]
                case .texts([]): recipe[keyPath: path] = []
                default: return "expected an array of integers, found \(value.kind)"
                }
                return nil
            }, get: { .integers($0[keyPath: path]) },
            check: { value in
                guard case .integers(let list) = value, let odd = list.first(where: { !range.contains($0) }) else {
                    return nil
                }
                return "\(odd) is not within \(range.lowerBound)...\(range.upperBound)"
            })
    }

    static func numbers(_ key: CodingKeys, _ path: Path<[Double]>, _ range: ClosedRange<Double>) -> Field {
        Field(
            key: key,
            set: { recipe, value in
                switch value {
                case .numbers(let list): recipe[keyPath: path] = list
                case .integers(let list): recipe[keyPath: path] = list.map(Double.init)
                case .number(let one): recipe[keyPath: path] = [one]
                case .integer(let one): recipe[keyPath: path] = [Double(one)]
                case .texts([]): recipe[keyPath: path] = []
                default: return "expected an array of numbers, found \(value.kind)"
                }
                return nil
            }, get: { .numbers($0[keyPath: path]) },
            check: { value in
                guard case .numbers(let list) = value, let odd = list.first(where: { !range.contains($0) }) else {
                    return nil
                }
                return "\(odd) is not within \(range.lowerBound)...\(range.upperBound)"
            })
    }
}
