import GlimEngine
import GlimModel
import GlimTestSupport
import Testing

@Suite("scheduler") struct SchedulerTests {
    /// The world around a scheduler: requests that read, draw, come and go, and the pages that they hold.
    private struct World {
        var scheduler: Scheduler
        let limits: Scheduler.Limits
        let pages: Int
        var draw: Draw
        /// How soon a turn brings what is on disk.
        let restoreRate: Double
        /// In the order in which they came.
        var requests: [Request] = []
        var finished = 0
        var (preemptions, cancelled) = (0, 0)
        /// Steps that both read and draw.
        var mixed = 0

        struct Request {
            let id: Int
            var known: Int
            var read = 0
            /// Tokens still to be drawn.
            var left: Int
            var isActive = false
            var isRestoring = false
            var drafts = 0

            var isDecoding: Bool { known - read == 1 }
        }

        init(_ limits: Scheduler.Limits, pages: Int, _ draw: Draw) {
            (self.limits, self.pages, self.draw) = (limits, pages, draw)
            restoreRate = self.draw.pick([0.5, 0.02])
            scheduler = Scheduler(limits)
        }

        var heldPages: Int { requests.reduce(0) { $0 + Cache.pageCount($1.read) } }

        mutating func arrive(_ id: Int) {
            let known = draw.integer(1...min(300, pages * 64 - 1))
            let left = draw.integer(1...max(1, min(draw.pick([60, 300]), pages * 64 - known)))
            let leader = requests.isEmpty ? nil : draw.pick(requests)
            let follows = leader.flatMap { leader -> (id: Int, count: Int)? in
                let count = min(known, leader.known) - 1
                return count > 0 && draw.chance(0.3) ? (leader.id, draw.integer(1...count)) : nil
            }
            requests.append(Request(id: id, known: known, left: left))
            scheduler.add(id, known: known, after: follows)
        }

        mutating func cancel() {
            guard !requests.isEmpty else { return }
            let i = draw.integer(0...requests.count - 1)
            scheduler.remove(requests[i].id)
            requests.remove(at: i)
            cancelled += 1
        }

        private func index(_ id: Int) -> Int { requests.firstIndex { $0.id == id }! }

        /// Does what the scheduler says; false where there is nothing to do.
        mutating func turn() -> Bool {
            for i in requests.indices where requests[i].isRestoring && draw.chance(restoreRate) { restore(i) }
            let available = pages - heldPages
            switch scheduler.next(available: available) {
            case .admit(let id): admit(index(id))
            case .preempt(let id):
                let i = index(id)
                // The last that came, of those with pages.
                #expect(requests[i].isActive && !requests[(i + 1)...].contains { $0.isActive })
                (requests[i].isActive, requests[i].isRestoring, requests[i].read) = (false, false, 0)
                requests[i].drafts = 0
                preemptions += 1
            case .run(let step): run(step, available)
            case .idle:
                let restoring = requests.indices.filter { requests[$0].isRestoring }
                #expect(requests.isEmpty || !restoring.isEmpty, "\(requests.count) requests are stuck")
                // Nobody waits but for pages, and behind whoever is brought from disk.
                if let i = requests.firstIndex(where: { $0.isActive && !$0.isRestoring }) {
                    #expect(available == 0 && restoring.contains { $0 < i })
                }
                for i in restoring { restore(i) }
                return !restoring.isEmpty
            }
            #expect(requests.filter(\.isActive).count <= limits.active && heldPages <= pages)
            return true
        }

        private mutating func admit(_ i: Int) {
            #expect(!requests[i].isActive)
            requests[i].isActive = true
            requests[i].isRestoring = draw.chance(0.2)
            // What was known of it: whole pages, or a part.
            let room = (pages - heldPages) * 64
            if draw.chance(0.4) { requests[i].read = draw.integer(0...min(requests[i].known - 1, room)) }
            scheduler.admitted(requests[i].id, read: requests[i].read, isRestoring: requests[i].isRestoring)
        }

        private mutating func restore(_ i: Int) {
            requests[i].isRestoring = false
            scheduler.restored(requests[i].id, read: requests[i].read)
        }

        private mutating func run(_ step: Scheduler.Step, _ available: Int) {
            let ids = step.decodes.map(\.id) + step.prefills.map(\.id)
            #expect(!ids.isEmpty && Set(ids).count == ids.count)
            mixed += step.decodes.isEmpty || step.prefills.isEmpty ? 0 : 1
            // Whoever came first goes on.
            let first = requests.first { $0.isActive && !$0.isRestoring }
            #expect(first.map { ids.contains($0.id) } ?? false)
            let decoding = requests.filter { $0.isActive && !$0.isRestoring && $0.isDecoding }
            let rows = step.prefills.reduce(0) { $0 + $1.rows }
            #expect(rows <= (decoding.isEmpty ? limits.chunk : limits.mixedChunk))
            // Nobody who draws waits for whoever reads, as long as there are pages.
            let needed = decoding.reduce(0) { $0 + Cache.pageCount($1.read + 1 + $1.drafts) - Cache.pageCount($1.read) }
            let readers = requests.filter { $0.isActive && !$0.isRestoring && !$0.isDecoding }
            let wanted = readers.reduce(0) { $0 + Cache.pageCount($1.known) - Cache.pageCount($1.read) }
            if needed + wanted <= available {
                #expect(step.decodes.map(\.id) == decoding.map(\.id))
                #expect(step.decodes.map(\.drafts) == decoding.map(\.drafts))
                expectFair(step.prefills, readers)
            }
            var taken = 0
            for decode in step.decodes {
                let i = index(decode.id)
                #expect(requests[i].isDecoding && (0...requests[i].drafts).contains(decode.drafts))
                taken += Cache.pageCount(requests[i].read + 1 + decode.drafts) - Cache.pageCount(requests[i].read)
                let drawn = min(requests[i].left, 1 + draw.integer(0...decode.drafts))
                advance(i, read: drawn, drawn: drawn)
            }
            for prefill in step.prefills {
                let i = index(prefill.id)
                let ends = requests[i].read + prefill.rows == requests[i].known
                #expect(prefill.rows > 0 && requests[i].read + prefill.rows <= requests[i].known)
                taken += Cache.pageCount(requests[i].read + prefill.rows) - Cache.pageCount(requests[i].read)
                advance(i, read: prefill.rows, drawn: ends ? 1 : 0)
            }
            #expect(taken <= available)
            for i in requests.indices.reversed() where requests[i].left == 0 {
                scheduler.remove(requests[i].id)
                requests.remove(at: i)
                finished += 1
            }
        }

        /// Nobody gets more while another that could use it gets less, but for what does not divide.
        private func expectFair(_ prefills: [Scheduler.Step.Prefill], _ readers: [Request]) {
            let rows = Dictionary(uniqueKeysWithValues: prefills.map { ($0.id, $0.rows) })
            let most = rows.values.max() ?? 0
            for reader in readers.prefix(limits.mixedChunk) {
                let own = rows[reader.id] ?? 0
                #expect(own == reader.known - reader.read || own >= most - 1, "\(own) rows beside \(most)")
            }
        }

        private mutating func advance(_ i: Int, read: Int, drawn: Int) {
            requests[i].read += read
            requests[i].known += drawn
            requests[i].left -= drawn
            scheduler.advance(requests[i].id, read: read, drawn: drawn)
            requests[i].drafts = draw.integer(0...4)
            scheduler.want(requests[i].id, drafts: requests[i].drafts)
        }
    }

    /// A random history, to its end.
    private static func history(_ seed: Int) -> World {
        var draw = Draw(seed, "scheduler")
        var limits = Scheduler.Limits()
        limits.active = draw.pick([1, 2, 5, 40])
        limits.chunk = draw.pick([1, 7, 64, 512])
        limits.mixedChunk = draw.pick([1, 5, 64, 128])
        var world = World(limits, pages: draw.pick([5, 6, 9, 20, 100]), draw)
        let (count, rate) = (draw.integer(1...40), draw.pick([0.02, 0.2, 1]))
        var (arrived, turns) = (0, 0)
        while arrived < count || !world.requests.isEmpty {
            if arrived < count, world.requests.isEmpty || draw.chance(rate) {
                arrived += 1
                world.arrive(arrived)
            }
            if draw.chance(0.01) { world.cancel() }
            _ = world.turn()
            turns += 1
            // Each token is a step of its own at worst, with one row a step, and what is preempted is read again.
            guard turns < 400_000 else {
                Issue.record("seed \(seed): \(world.requests.count) requests do not end")
                return world
            }
        }
        #expect(world.finished + world.cancelled == count && world.heldPages == 0)
        #expect(world.scheduler.activeCount == 0 && world.scheduler.waitingCount == 0)
        #expect(world.turn() == false)
        return world
    }

    @Test("random histories: no page too many, no request stuck, the first always goes on") func histories() {
        var (mixed, preemptions) = (0, 0)
        for seed in 0..<120 {
            let world = Self.history(seed)
            (mixed, preemptions) = (mixed + world.mixed, preemptions + world.preemptions)
        }
        // They would prove little if nothing happened in them.
        #expect(mixed > 100 && preemptions > 10, "\(mixed), \(preemptions)")
    }

    /// Admits whatever waits, with nothing known of it.
    private func admitAll(_ scheduler: inout Scheduler, available: Int) -> [Int] {
        var ids: [Int] = []
        while case .admit(let id) = scheduler.next(available: available) {
            scheduler.admitted(id, read: 0)
            ids.append(id)
        }
        return ids
    }

    @Test("a long prompt is read beside whoever draws, in small chunks") func mixed() {
        var scheduler = Scheduler()
        scheduler.add(1, known: 10)
        #expect(admitAll(&scheduler, available: 100) == [1])
        #expect(scheduler.next(available: 100) == .run(.init(prefill: (1, 10))))
        scheduler.advance(1, read: 10, drawn: 1)
        scheduler.add(2, known: 1000)
        #expect(admitAll(&scheduler, available: 99) == [2])
        scheduler.want(1, drafts: 3)
        #expect(scheduler.next(available: 99) == .run(.init(decode: (1, 3), prefill: (2, 128))))
        scheduler.remove(1)
        #expect(scheduler.next(available: 100) == .run(.init(prefill: (2, 512))))
    }

    @Test("the last to come gives its pages back, and comes first of those that wait") func preemption() {
        var scheduler = Scheduler()
        scheduler.add(1, known: 64)
        scheduler.add(2, known: 64)
        #expect(admitAll(&scheduler, available: 8) == [1, 2])
        for id in [1, 2] { scheduler.advance(id, read: 64, drawn: 1) }
        scheduler.add(3, known: 5)
        // Both need a page. Where there is one the first has it; where there is none it takes one.
        #expect(scheduler.next(available: 1) == .run(.init(decode: (1, 0))))
        #expect(scheduler.next(available: 0) == .preempt(2))
        #expect(scheduler.next(available: 2) == .run(.init(decode: (1, 0))))
        scheduler.advance(1, read: 1, drawn: 1)
        scheduler.remove(1)
        #expect(admitAll(&scheduler, available: 4) == [2, 3])
    }

    @Test("several replies to one prompt read it once") func followers() {
        var scheduler = Scheduler()
        scheduler.add(1, known: 600)
        scheduler.add(2, known: 600, after: (1, 599))
        scheduler.add(3, known: 30)
        scheduler.add(4, known: 600, after: (1, 599))
        // Whoever has nothing to wait for goes past.
        #expect(admitAll(&scheduler, available: 100) == [1, 3])
        scheduler.advance(1, read: 512, drawn: 0)
        #expect(scheduler.next(available: 90) == .run(.init(prefills: [(1, 88), (3, 30)])))
        scheduler.advance(1, read: 88, drawn: 1)
        #expect(admitAll(&scheduler, available: 90) == [2, 4])
    }

    @Test("whoever finds no page behind one that is brought from disk waits for it") func restoring() {
        var scheduler = Scheduler()
        scheduler.add(1, known: 5)
        scheduler.add(2, known: 600, after: (1, 4))
        scheduler.add(3, known: 5)
        #expect(admitAll(&scheduler, available: 100) == [1, 3])
        for id in [1, 3] { scheduler.advance(id, read: 5, drawn: 1) }
        #expect(scheduler.next(available: 100) == .admit(2))
        scheduler.admitted(2, read: 0, isRestoring: true)
        scheduler.remove(1)
        for _ in 0..<59 { scheduler.advance(3, read: 1, drawn: 1) }
        #expect(scheduler.next(available: 0) == .idle)
        scheduler.restored(2, read: 128)
        #expect(scheduler.next(available: 0) == .preempt(3))
        #expect(scheduler.next(available: 1) == .run(.init(prefill: (2, 64))))
    }

    @Test("whoever followed a request that is gone reads for itself") func orphan() {
        var scheduler = Scheduler()
        scheduler.add(1, known: 600)
        scheduler.add(2, known: 600, after: (1, 599))
        #expect(admitAll(&scheduler, available: 100) == [1])
        scheduler.remove(1)
        #expect(admitAll(&scheduler, available: 100) == [2])
    }

    @Test("nobody is admitted whose prompt finds no room, and none that came later passes") func admission() {
        var scheduler = Scheduler()
        scheduler.add(1, known: 64)
        scheduler.add(2, known: 640)
        scheduler.add(3, known: 5)
        #expect(admitAll(&scheduler, available: 10) == [1])
        // Ten of its eleven pages are held by others anyway.
        #expect(scheduler.next(available: 10, sharedPages: { $0 == 2 ? 10 : 0 }) == .admit(2))
    }
}

extension Scheduler.Step {
    fileprivate init(
        decode: (id: Int, drafts: Int)? = nil, prefill: (id: Int, rows: Int)? = nil,
        prefills: [(id: Int, rows: Int)] = []
    ) {
        self.init()
        if let decode { decodes = [Decode(id: decode.id, drafts: decode.drafts)] }
        self.prefills = (prefill.map { [$0] } ?? prefills).map { Prefill(id: $0.id, rows: $0.rows) }
    }
}
