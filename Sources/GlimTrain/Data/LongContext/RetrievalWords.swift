/// The words of facts: short, rare in source code, and so few that a trained tokenizer has most of them whole.
enum RetrievalWords {
    /// What facts are about.
    static let names: [String] = split(
        """
        ant ape bat bear bee bird boar bug bull calf cat clam cod colt cow crab crow cub deer dog dove duck eagle
        eel elk emu ewe fawn fish flea fly foal fox frog gnat goat goose gull hare hawk hen heron horse hound ibex
        jay kid kite lamb lark lion lynx mare mink mole moose moth mouse mule newt otter owl ox panda perch pig pony
        pug puma quail rabbit ram rat raven robin rook seal shark sheep shrew skunk sloth slug snail snake sole
        spider squid stag stork swan swift tapir tern tiger toad trout tuna viper vole wasp weasel whale wolf worm
        wren yak zebra bison camel chick cobra crane finch gecko hippo hyena koala lemur llama magpie monkey moray
        octopus osprey parrot walrus wombat
        """)

    /// What they say.
    static let values: [String] = split(
        """
        acorn apple ash aster bark barley bay bean beech beet berry birch bloom briar bud bush cedar cherry chive
        clay cliff clover cloud coal coast copper coral cork corn cotton creek crystal daisy dawn dew dill dune dusk
        dust elder elm fern fig field fir flame flax flint fog forest frost garlic ginger glass gold grain granite
        grape grass gravel grove hail hay hazel heath hedge herb hill holly honey ice iris iron island ivy jade lake
        larch leaf lemon lilac lily lime linen maple marble marsh meadow melon mint mist moon moss mud mustard nut
        oak oat olive onion opal orchid palm peach pear pearl pebble pepper pine plum pond poppy quartz rain reed
        rice ridge river rose ruby rye sage salt sand silver sky snow spruce
        """)

    static let ordinals = ["first", "second", "third", "fourth"]

    /// Whether two words stand beside each other in facts of evaluation only: one pair in eight. So nothing that is
    /// asked in evaluation was ever told in training.
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
