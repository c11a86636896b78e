/// The words of facts, of which names and values are made two by two: short, rare in source code, and so few that a
/// trained tokenizer has most of them whole and a model meets each of them often.
package enum RetrievalWords {
    /// Of what facts are about.
    package static let names: [String] = split(
        """
        ant bat bee boar bull cat cod cow crow deer dove eagle elk ewe fish fly fox gnat goose hare hen horse ibex
        kid lamb lion mare mole moth mule otter ox perch pony puma rabbit rat robin seal sheep skunk slug snake
        spider stag swan tapir tiger trout viper wasp whale worm yak bison chick crane gecko hyena lemur magpie
        moray osprey walrus
        """)

    /// Of what they say.
    package static let values: [String] = split(
        """
        acorn ash bark bay beech berry bloom bud cedar chive cliff cloud coast coral corn creek daisy dew dune dust
        elm fig fir flax fog frost ginger gold granite grass grove hay heath herb holly ice iron ivy lake leaf lilac
        lime maple marsh melon mist moss mustard oak olive opal palm pear pebble pine pond quartz reed ridge rose
        rye salt silver snow
        """)

    package static let ordinals = ["first", "second", "third", "fourth"]

    /// Whether two names, or a name and a value, stand beside each other in facts of evaluation only: one pair in eight.
    /// So nothing that is asked in evaluation was ever told in training.
    static func isHeldOut(_ first: String, _ second: String) -> Bool {
        // FNV-1a: asked many times a document, it should not build a text each time.
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in first.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        hash = (hash ^ 0x20) &* 0x100_0000_01B3
        for byte in second.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return (hash ^ hash >> 32) & 0xFF < 32
    }

    private static func split(_ text: String) -> [String] { text.split { $0 == " " || $0 == "\n" }.map(String.init) }
}
