import GlimModel
import GlimTestSupport
import Testing

@Suite("which experts are held") struct ExpertTableTests {
    private static let page = 1 << 16

    @Test("what takes room never exceeds it, and what is needed or on its way stays", arguments: 0..<20)
    func walk(seed: Int) {
        var draw = Draw(seed, "walk")
        let sizes = (0..<draw.integer(1...3)).map { _ in Self.page * draw.integer(1...3) }
        let (width, capacity) = (draw.integer(2...9), Self.page * draw.integer(3...20))
        var table = ExpertTable(capacity: capacity, sizes: sizes, width: width)
        var (coming, needed): (Set<Int>, Set<Int>) = ([], [])
        for _ in 0..<2000 {
            let id = draw.integer(0...sizes.count * width - 1)
            switch draw.integer(0...5) {
            case 0, 1:
                let reason = draw.pick([ExpertTable.Reason.need, .guess, .habit])
                let isThere = table.memory(of: id) != nil || coming.contains(id)
                let before = table.byteCount
                if table.begin(id, for: reason) != nil {
                    #expect(!isThere)
                    coming.insert(id)
                    if reason == .need { needed.insert(id) }
                    if reason == .habit { #expect(table.byteCount == before + sizes[id / width]) }
                } else if !isThere, reason == .need {
                    // Only where everything that could give way must not.
                    let bound = coming.union(needed).reduce(0) { $0 + sizes[$1 / width] }
                    #expect(bound + sizes[id / width] > capacity)
                }
            case 2:
                if coming.remove(id) != nil { draw.chance(0.9) ? table.arrived(id) : table.failed(id) }
                if table.memory(of: id) == nil { needed.remove(id) }
            case 3:
                let isNeeded = draw.chance(0.4)
                if table.memory(of: id) != nil || coming.contains(id) {
                    table.need(id, isNeeded)
                    if isNeeded { needed.insert(id) } else { needed.remove(id) }
                }
            case 4: table.record((0..<width).map { _ in draw.integer(0...2) }, layer: id / width)
            default: draw.chance(0.5) ? table.expect(id) : table.passed(layer: id / width)
            }
            #expect(table.byteCount <= capacity)
            for id in coming { #expect(table.isComing(id)) }
            for id in needed { #expect(table.memory(of: id) != nil || table.isComing(id)) }
        }
    }

    @Test("the coldest gives way, what is expected last, and nothing does to a habit") func coldest() {
        var table = ExpertTable(capacity: 3 * Self.page, sizes: [Self.page], width: 6)
        table.record([9, 1, 5, 3, 0, 0], layer: 0)
        for id in 0..<3 {
            #expect(table.begin(id, for: .need) != nil)
            table.arrived(id)
            table.need(id, false)
        }
        #expect(table.begin(3, for: .habit) == nil)
        table.expect(1)
        // 1 is the coldest and expected: 2 goes.
        #expect(table.begin(3, for: .guess) != nil && table.memory(of: 2) == nil && table.memory(of: 1) != nil)
        table.arrived(3)
        table.expect(0)
        // All are expected: a guess waits, a need does not.
        #expect(table.begin(4, for: .guess) == nil)
        #expect(table.begin(4, for: .need) != nil && table.memory(of: 1) == nil)
        table.passed(layer: 0)
        table.arrived(4)
        #expect(table.begin(5, for: .guess) != nil && table.memory(of: 3) == nil)
    }

    @Test("a choice long ago counts less than a few of now") func ages() {
        var table = ExpertTable(capacity: Self.page, sizes: [Self.page], width: 4)
        table.record([100, 0, 0, 0], layer: 0)
        #expect(table.heat(0) > 99 && table.heat(1) == 0)
        for _ in 0..<500 { table.record([0, 2, 1, 1], layer: 0) }
        #expect(table.heat(1) > table.heat(0) && table.heat(1) > table.heat(2))
        // Far beyond what a number could hold, had it only grown.
        for _ in 0..<200_000 { table.record([0, 2, 1, 1], layer: 0) }
        #expect(table.heat(1).isFinite && table.heat(1) > table.heat(2) && table.heat(0) < 1e-9)
    }
}
