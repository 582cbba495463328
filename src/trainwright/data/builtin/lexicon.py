"""The words that the builtin stories are made of. Each list holds things that can stand in one place of a sentence."""


def _words(text: str) -> tuple[str, ...]:
    """Entries that are one word each."""
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    """Entries of several words, with `|` between them."""
    return tuple(" ".join(entry.split()) for entry in text.split("|"))


GIRLS = _words("""
    Anna Bella Clara Daisy Ella Emma Flora Grace Hana Holly Ida Ivy Jane Julia Kate Lena Lily Lucy Maya Mia Mina Nina
    Nora Olive Penny Rosa Ruby Sara Sofia Tess Vera Wendy Zoe Alma Edith Greta Iris Leila Marta Poppy Ada Agnes Aisha
    Alice Amara Amelia Anya Asha Audrey Aurora Ava Beatrice Bianca Bridget Carla Carmen Cecilia Celia Chloe Cora
    Dahlia Delia Diana Dora Dorothy Edna Elena Elise Eliza Elsa Esme Esther Eva Evelyn Faye Fiona Freya Frida Gemma
    Georgia Gina Hannah Harriet Hattie Heidi Helen Ines Ingrid Irma Isabel Isla Jada Jasmine Jenny Joan Josie Juno
    Kaia Karin Kiara Kira Laila Lara Laura Lea Lina Linda Livia Lola Lotte Louise Lydia Mabel Maeve Maggie Margot
    Marina Matilda Meena Megan Melina Mila Millie Mira Miriam Molly Monica Nadia Naomi Nell Odette Olga Olivia Paula
    Petra Phoebe Priya Quinn Rachel Rania Rita Romy Rosalind Sally Salma Selma Sylvia Simone Sonia Stella Susan
    Tabitha Tamara Tanya Thea Tina Uma Ursula Valerie Vivian Wilma Yara Yasmin Zara Zelda
""")
BOYS = _words("""
    Adam Alex Ben Carl Dan David Eli Felix Finn George Hugo Ian Jack Jon Karl Leo Liam Luca Mark Max Milo Nick Noah
    Oliver Omar Oscar Paul Peter Ravi Robin Sam Simon Theo Tim Toby Tom Victor Will Yusuf Zack Amir Jonas Otto Rami
    Aaron Abel Adrian Alan Albert Alfie Amos Andrew Anton Archie Arjun Arthur Asher August Basil Bobby Boris Bram
    Bruce Caleb Calvin Cedric Charlie Chris Clark Cody Colin Conrad Cyrus Damian Daniel Darius Dean Dennis Derek
    Dexter Dylan Edgar Edward Edwin Elias Elliot Emil Enzo Eric Ethan Evan Ezra Fabian Francis Frank Fred Gabriel
    Gavin Gilbert Gordon Gregor Gus Hamid Harold Harris Harry Hassan Henry Herman Hiro Ibrahim Igor Isaac Ivan Jacob
    Jamal James Jared Jasper Jesse Joel Johan Jordan Joseph Joshua Julian Justin Kai Kenji Kevin Kofi Lars Lewis Logan
    Lorenzo Louis Lucas Luke Malik Marco Marcus Mario Martin Marvin Matteo Maurice Michael Miles Mohan Moses Nathan
    Ned Neil Nico Niels Nigel Norman Olaf Orson Owen Pablo Patrick Percy Philip Pierre Quentin Ralph Raymond Rex
    Richard Roger Roland Ronan Rory Rowan Rufus Samir Scott Sean Seth Silas Stefan Steven Sven Tariq Thomas Tobias
    Tony Travis Tristan Umar Vincent Wallace Walter Wesley Winston Xavier Yannick
""")
SHE_ANIMALS = _words("""
    Clover Hazel Willow Pearl Maple Dotty Misty Rosie Pip Luna Honey Sunny Tilly Bluebell Amber Apricot Aster Berry
    Blossom Breeze Buttercup Cherry Cinnamon Coral Cricket Dandelion Dewdrop Fern Flicker Fuchsia Ginger Heather
    Hollyhock Jewel Juniper Lavender Lemon Marigold Meadow Mimosa Minty Nutmeg Opal Pansy Peaches Petal Petunia Plum
    Primrose Puddle Raisin Saffron Sage Sparkle Sprout Starling Sugar Sweetpea Tulip Twinkle Vanilla Velvet Whisper
    Zinnia
""")
HE_ANIMALS = _words("""
    Rusty Bruno Pepper Biscuit Moss Benny Scout Bramble Acorn Patch Ollie Barley Thistle Button Alder Ash Badge Bandit
    Birch Bounce Bracken Bristle Bumble Cedar Chestnut Chip Clay Cobalt Comet Copper Digger Dusty Ember Fidget Flint
    Fudge Gruff Hopper Hunter Jumper Kipper Lichen Marble Marlow Mudge Muddle Nibbles Nutkin Oakley Pebble Pickle
    Pinecone Pudding Ranger Ripple Rocket Rumble Sandy Shadow Smudge Snapper Sniff Socks Sorrel Sparky Splash Spruce
    Stormy Stripe Tangle Thunder Tumble Turnip Walnut Whiskers Wiggle Woody Zigzag
""")
CHILD_ADJECTIVES = _words("""
    little young kind curious cheerful quiet brave gentle clever happy shy friendly busy polite merry playful
    thoughtful lively bright bold calm careful creative dreamy eager generous helpful hopeful jolly loyal modest neat
    patient proud restless sensible serious silly sleepy smart stubborn sweet talkative tidy timid warm-hearted wild
""")
ANIMALS = _words("""
    rabbit fox bear mouse squirrel hedgehog badger otter beaver kitten puppy duck frog turtle lamb goat pony pig
    raccoon mole hamster owl penguin monkey elephant koala chipmunk donkey calf goose hen crow sparrow lizard panda
    kangaroo zebra giraffe lion tiger camel seal walrus parrot rooster weasel marmot lynx moose reindeer llama sloth
    toad newt hippo meerkat gerbil wombat
""")
ANIMAL_ADJECTIVES = _words("""
    little small young furry curious cheerful gentle clever brave shy funny sleepy playful kind tiny friendly plump
    quick nimble bouncy fluffy fuzzy merry silly bold timid quiet noisy lively hungry dreamy hopeful patient proud
    stubborn sweet swift tidy messy wise
""")
CHILD_HOMES = _phrases("""
    in a small house by the sea | in a yellow house at the end of the lane | in a village between two hills | in a
    tall house in the middle of the town | on a farm with a red barn | in a cottage near the forest | in a blue house
    beside a river | in a flat above the bakery | in a white house with a green door | in a little town with a clock
    tower | near a lake full of fish | at the foot of a mountain | on a street with tall trees | on a small island |
    next to the old mill | in a house with a round window | across from the school | behind the village church | in a
    houseboat on the canal | in a lighthouse on the cliffs | in a caravan at the edge of town | in a bungalow with
    blue shutters | in an apartment on the top floor | above a candle shop | on a vineyard | in a farmhouse with a
    thatched roof | in a log cabin
""")
ANIMAL_HOMES = _phrases("""
    in a cozy hole under an old oak | at the edge of a green meadow | in the middle of the forest | beside a clear
    stream | under a bush full of berries | near a quiet pond | in a warm nest of leaves and grass | on the sunny side
    of a hill | in a little house made of sticks | in a hollow log | at the end of a winding path | by the roots of a
    tall pine | in a burrow with a tiny door | in a valley full of flowers | behind the waterfall | under the wooden
    bridge | in a thicket of brambles | among the ferns | in a den lined with moss | beneath the hawthorn hedge | in a
    cave behind the ivy | in the reeds | at the bottom of the orchard | under a heap of pine needles
""")
LIKINGS = _phrases("""
    to draw pictures of ships | to count the clouds | to sing in the morning | to jump over puddles | to collect round
    stones | to listen to old stories | to climb trees | to look at the stars | to splash in the water | to run in the
    tall grass | to build towers | to eat warm bread with honey | to dance in the kitchen | to ask questions | to
    watch the birds | to paint with bright colors | to help in the garden | to play hide and seek | to make people
    laugh | to read big books | to roll down the hill | to feed the ducks | to pick flowers | to tell jokes | to
    whistle little tunes | to find shapes in the clouds | to swing very high | to sleep late | to hop on one leg | to
    watch the boats | to catch falling leaves | to play the drum | to smell the roses | to learn new words | to chase
    butterflies | to look under stones | to draw with chalk | to make paper hats | to bake cakes out of mud | to ride
    a bike | to wave at trains | to play with string
""")
WHEN = _phrases("""
    One day | One morning | One afternoon | One sunny day | One bright morning | One spring day | One Saturday | One
    Sunday morning | One quiet afternoon | After breakfast one day | Early one morning | One summer day | One day
    after lunch | One Tuesday | On the first day of spring | One fine day | On a warm afternoon | One Monday | One day
    in May | One day in autumn
""")
FAIR_WEATHER = _phrases("""
    The sun was warm and the sky was blue. | A soft wind blew through the trees. | The birds were singing. | The air
    smelled of flowers. | White clouds sailed across the sky. | The grass was still wet with dew. | The sun shone on
    the rooftops. | Bees hummed in the clover. | It was a lovely day. | There was not a cloud in the sky. | Golden
    light lay on the fields. | The morning was fresh and clear. | A gentle breeze moved the leaves. | The whole world
    looked bright and new. | Somewhere a dog barked happily. | The sun was high and the shade was cool.
""")
PLACES = (
    ("the park", "in the park"),
    ("the garden", "in the garden"),
    ("the beach", "at the beach"),
    ("the forest", "in the forest"),
    ("the meadow", "in the meadow"),
    ("the river", "by the river"),
    ("the pond", "by the pond"),
    ("the playground", "at the playground"),
    ("the hill", "on the hill"),
    ("the farm", "on the farm"),
    ("the orchard", "in the orchard"),
    ("the lake", "at the lake"),
    ("the field", "in the field"),
    ("the village square", "in the village square"),
    ("the old bridge", "by the old bridge"),
    ("the market", "at the market"),
    ("the big oak tree", "under the big oak tree"),
    ("the harbor", "at the harbor"),
    ("the valley", "in the valley"),
    ("the stream", "by the stream"),
    ("the schoolyard", "in the schoolyard"),
    ("the windmill", "near the windmill"),
)
COLORS = _words("""
    red blue green yellow orange purple white brown pink silver golden gray black scarlet crimson violet turquoise
    beige ivory lilac copper bronze cream navy rosy
""")
QUALITIES = _words("""
    little big old new shiny soft wooden striped round tiny favorite special pretty funny spotted painted squeaky
    woolen rubber plastic felt patched checkered flowery glittering dusty speckled smooth polished handmade
""")
TOYS = _phrases("""
    ball | kite | doll | teddy bear | toy car | toy train | drum | toy boat | robot | truck | puppet | top | whistle |
    toy horse | toy rabbit | balloon | marble | toy plane | bell | rubber duck | flute | toy dragon | puzzle | hoop |
    yo-yo | rattle | trumpet | tractor | rocket | sailboat | scooter | wagon | pinwheel | frisbee | tambourine |
    xylophone | toy castle | toy lion | toy whale | toy monkey | toy elephant | jump rope | paper airplane | spinning
    wheel | music box | magnet | telescope | toy bus
""")
CLOTHES = _phrases("""
    hat | scarf | cap | coat | sweater | apron | ribbon | blanket | bag | umbrella | mitten | boot | cape | necklace |
    jacket | vest | shawl | sock | slipper | sandal | belt | bonnet | bracelet | button | buckle | cardigan | collar |
    glove | hood | kerchief | pajama top | purse | raincoat | robe | shirt | shoe | skirt | tie | tunic
""")
TREASURES = _phrases("""
    a golden bell | a silver spoon | a box of colored pencils | a bag of old coins | a little brass lamp | a shiny
    whistle | a book of songs | a jar of blue marbles | a music box | a compass | a wooden crown | a big round
    magnifying glass | a set of tiny cups | a smooth green stone that glowed | an hourglass | a spyglass | a chest of
    doubloons | a jeweled goblet | a golden locket | a pearl brooch | a scepter | a tiara | a bronze medallion | a
    silver chalice | a pocket watch | a diary with a lock | a tin soldier | a porcelain figurine | a hand-carved chess
    set
""")
FRUIT = _words("apple pear plum peach banana orange fig melon")
SNACKS = _phrases("""
    apple | sandwich | cookie | pear | muffin | banana | bun | peach | pancake | carrot | piece of cheese | slice of
    cake | cracker | pretzel | plum | jam tart
""")
DISHES = _phrases("""
    cake | pie | loaf of bread | pot of soup | bowl of salad | tray of cookies | plate of pancakes | pizza | plum tart
    | pot of jam | pudding | carrot cake | casserole | lasagna | quiche | chowder | fruit salad | cheese souffle | pot
    pie | batch of scones | stack of waffles | tray of rolls | pan of cornbread | meatloaf | trifle
""")
BERRIES = _phrases("""
    strawberries | blueberries | cherries | raspberries | blackberries | grapes | sweet plums | honey cakes | sugar
    cookies | ripe pears | jelly beans | pancakes
""")
PLANTS = _phrases("""
    sunflower | pumpkin | tomato plant | rose | bean plant | strawberry plant | apple tree | tulip | carrot | lemon
    tree | daisy | watermelon | pepper plant | cucumber vine | cabbage | raspberry bush | blueberry bush | lavender
    bush | hollyhock | marigold | dahlia | grapevine | cornstalk | beanstalk | gooseberry bush | eggplant | zucchini
    plant | lilac bush | sweet potato
""")
FLOWERS = _phrases("""
    daisies | roses | tulips | poppies | violets | bluebells | sunflowers | buttercups | lilies | wild flowers
""")
INDOOR_SPOTS = _phrases("""
    under the bed | behind the sofa | in the kitchen drawer | under the table | behind the curtain | on top of the
    shelf | in the laundry basket | inside an old boot | under a pillow | behind the door | in the bathtub | under the
    stairs | in the toy box | between two books
""")
OUTDOOR_SPOTS = _phrases("""
    under a bush | behind a big rock | in a pile of leaves | in the tall grass | under the bench | inside a hollow log
    | next to the well | behind the fence | between the roots of a tree | in an empty flower pot | near the gate |
    under a wheelbarrow | beside the path | in a patch of clover
""")
GROWN_UPS = (
    ("Mom", "she"),
    ("Dad", "he"),
    ("Grandma", "she"),
    ("Grandpa", "he"),
    ("Aunt Rose", "she"),
    ("Uncle Ned", "he"),
    ("Aunt May", "she"),
    ("Uncle Joe", "he"),
)
WISE_ANIMALS = _phrases("""
    an old owl | a gray goose | an old turtle | a friendly crow | a wise toad | a kind deer | a white horse | a busy
    beaver | a plump robin | a big brown dog | a slow snail | a silver fish
""")
BABY_ANIMALS = _phrases("""
    baby bird | kitten | puppy | duckling | baby rabbit | lamb | baby squirrel | fawn | chick | baby hedgehog | piglet
    | gosling | cub | foal | calf | baby mouse | baby fox | baby owl | baby seal | nestling | baby badger | baby otter
    | kid goat
""")
HAPPY = _phrases("""
    happy | glad | proud | delighted | full of joy | very pleased | excited | overjoyed | thrilled | pleased
""")
SAD = _phrases("""
    sad | unhappy | lonely | upset | worried | disappointed | close to tears | downhearted | gloomy | miserable |
    heartbroken | glum | discouraged | troubled
""")
KINDLY = _phrases("""
    kindly | softly | gently | with a smile | warmly | in a soft voice | quietly | cheerfully | brightly | calmly |
    fondly | happily | lovingly | patiently | pleasantly | politely | sweetly | tenderly | thoughtfully | with a wink
    | with a laugh | with a nod
""")
SOUNDS = _phrases("""
    a soft cry | a tiny squeak | a small voice | a rustle in the leaves | a strange noise | a quiet sob | a faint
    whistle | a whimper | a moan | a sniffle | a thin wail | a faint chirping | a low whine | a quiet bleating | a
    muffled cry
""")
GAMES = _phrases("""
    hide and seek | tag | catch | hopscotch | leapfrog | pirates | store | a guessing game | follow the leader | kings
    and queens | explorers | a racing game | charades | dodgeball | musical chairs | tug-of-war | red rover | cops and
    robbers | tiddlywinks | jacks | sardines | blind man's buff | cowboys | circus | doctor | restaurant | piggyback
    races | knights and dragons
""")
CRAFTS = _phrases("""
    a card | a paper crown | a picture frame | a bracelet | a puppet | a birdhouse | a lantern | a necklace of shells
    | a little boat | a paper star | a painted cup | a wooden spoon | a kaleidoscope | a bookmark | a mobile of stars
    | a candle holder | a rag doll | a flower wreath | a pincushion | a potholder | a mask | a scrapbook | a
    tambourine | a weather vane | a sundial | a friendship band | a paper fan
""")
MATERIALS = _phrases("""
    colored paper | glue and string | old buttons | ribbons | bits of wood | feathers and shells | wool | red and blue
    paint | dry leaves | little beads | a box of crayons | scraps of cloth
""")
SKILLS = (
    ("ride a bike", "rode the bike all the way down the lane"),
    ("swim", "swam all the way across the pool"),
    ("whistle", "whistled a whole song"),
    ("skip rope", "skipped rope twenty times"),
    ("tie a bow", "tied two perfect bows"),
    ("climb the old apple tree", "climbed up to the highest branch"),
    ("skate", "skated around the whole pond"),
    ("fly a kite", "made the kite dance high above the roofs"),
    ("play the flute", "played a sweet tune from start to end"),
    ("stand on one leg", "stood on one leg and counted to fifty"),
    ("juggle", "juggled three apples at once"),
    ("read", "read a whole page out loud"),
    ("do a cartwheel", "turned three cartwheels in a row"),
    ("draw a horse", "drew a horse that looked ready to run"),
    ("row a boat", "rowed the boat to the far side of the lake"),
    ("catch a ball", "caught the ball ten times in a row"),
)
FEARS = (
    (
        "the dark",
        "The room was black and the shadows looked like monsters",
        "a small lamp",
        "The monsters were only a chair and a coat",
    ),
    (
        "thunder",
        "The sky rumbled and the windows shook",
        "a warm blanket",
        "The thunder was only the clouds bumping into each other",
    ),
    (
        "the tall slide",
        "The ladder was high and the ground looked far away",
        "a hand to hold",
        "The slide was as smooth as butter",
    ),
    (
        "the deep water",
        "The water was cold and looked very deep",
        "a swimming ring",
        "The water carried them like a soft bed",
    ),
    (
        "the big dog next door",
        "The dog was huge and its bark was loud",
        "a small biscuit",
        "The big dog only wanted to play",
    ),
    (
        "the first day of school",
        "The building was big and full of strange voices",
        "a lucky pebble",
        "The other children were just as nervous",
    ),
    (
        "the old attic",
        "The stairs creaked and something moved in the corner",
        "a bright candle",
        "It was only a mouse making a nest",
    ),
    (
        "the narrow bridge",
        "The bridge shook and the river rushed below",
        "a strong rope",
        "The bridge was much stronger than it looked",
    ),
    ("the dentist", "The chair was tall and the tools were shiny", "a soft toy to hug", "It did not hurt at all"),
    (
        "the scarecrow",
        "Its long arms moved in the wind",
        "a pocket full of courage",
        "The scarecrow was only straw and an old coat",
    ),
)
INDOOR_PLANS = (
    ("build a fort out of blankets", "the fort"),
    ("put on a puppet show", "the puppet show"),
    ("bake a tray of cookies", "the cookies"),
    ("paint a long picture of the sea", "the picture"),
    ("make a train out of chairs", "the train of chairs"),
    ("read a book about pirates", "the book"),
    ("build a castle out of boxes", "the castle"),
    ("fold a fleet of paper boats", "the paper boats"),
    ("have a picnic on the carpet", "the picnic"),
    ("play music on pots and pans", "the music"),
)
OUTINGS = _phrases("""
    have a picnic | fly a kite | go swimming | ride the little train | look for shells | play ball | pick berries | go
    fishing | feed the ducks | climb the hill
""")
BREAKABLES = _phrases("""
    vase | cup | plate | window | lamp | teapot | mirror | flower pot | bowl | glass jar | clock | picture frame
""")
STUCK_SPOTS = (
    ("in the deep mud", "a long rope"),
    ("at the top of a tall tree", "a wooden ladder"),
    ("in a hole in the ground", "a strong branch"),
    ("between two fence boards", "a little push and a little pull"),
    ("on a rock in the middle of the stream", "a flat plank"),
    ("under a fallen branch", "many helping hands"),
    ("in a thorny bush", "thick gloves"),
    ("on the thin ice near the shore", "a long scarf"),
    ("on a high ledge", "a big blanket"),
    ("in an empty barrel", "a garden rake"),
)
BUILDS = (
    ("tree house", "wide boards", "One wall fell down"),
    ("raft", "old logs", "The logs floated apart"),
    ("kite", "paper and thin sticks", "The paper tore in the wind"),
    ("sand castle", "wet sand", "A wave washed the tower away"),
    ("cart", "a box and four wheels", "One wheel rolled away"),
    ("birdhouse", "small pieces of wood", "The roof was too small"),
    ("puppet theater", "cardboard and tape", "The curtain fell off"),
    ("bridge of stones", "flat stones", "The middle sank into the stream"),
    ("swing", "rope and a plank", "The knot came loose"),
    ("windmill", "cardboard and a nail", "The wings would not turn"),
)
MAGIC_THINGS = _words("""
    lamp seed pebble feather shell key coin mirror ring acorn pencil button wand bracelet goblet amulet charm crystal
    whistle thimble bell ribbon horseshoe flask
""")
LANDMARKS = _phrases("""
    the crooked tree | the old well | the flat rock | the broken gate | the three birches | the little waterfall | the
    stone wall | the red mailbox | the fallen log | the mossy steps | the tall chimney | the rose bush | the milestone
    | the signpost | the scarecrow | the dovecote | the haystack | the footbridge | the stile | the boulder | the
    boathouse | the pavilion | the hedge | the beehives | the turnstile | the bandstand | the chapel | the hen house |
    the crossroads
""")
ERRANDS = _phrases("""
    bread | milk | eggs | a bag of flour | honey | apples | a ball of wool | candles | cheese | a bunch of carrots |
    stamps | tea
""")
PERFORMANCES = (
    ("sing a song", "song", "sang"),
    ("play the violin", "tune", "played"),
    ("read a poem", "poem", "read"),
    ("tell a story", "story", "spoke"),
    ("play the drum", "march", "drummed"),
    ("play the trumpet", "tune", "played"),
)
CHORES = (
    ("sweep the floor", "the broom"),
    ("wash the dishes", "the sponge"),
    ("rake the leaves", "the rake"),
    ("fold the laundry", "the basket"),
    ("water the plants", "the watering can"),
    ("stack the wood", "the wood"),
    ("feed the hens", "the bucket of corn"),
    ("dust the shelves", "the duster"),
    ("pick up the toys", "the toy box"),
    ("set the table", "the plates"),
)
NIGHT_THINGS = _phrases("""
    the moon | a bright star | an old streetlight | a passing cloud | the tall dark trees | a falling star | the quiet
    street | the silver lake
""")
NIGHT_COUNTS = _phrases("""
    sheep | stars | the ticks of the clock | the drops of rain | friends | all the good things of the day | the cars
    that went by | frogs in the pond
""")
SNOW_BUILDS = (
    ("snowman", "a carrot for a nose"),
    ("snow dog", "two pebbles for eyes"),
    ("snow castle", "a flag on the top"),
    ("snow bear", "two buttons for eyes"),
    ("snow rabbit", "two long sticks for ears"),
    ("snow queen", "a crown of pine cones"),
)
LETTER_NEWS = _phrases("""
    a drawing of the garden | a pressed flower | a funny joke | a map of the village | a long list of questions | a
    photo of the cat | a small feather | a song with four lines
""")
PET_TRICKS = _phrases("""
    sit | roll over | shake hands | fetch the stick | jump through a hoop | carry a basket | dance on two legs | wait
    at the door
""")
SURNAMES = _words("""
    Bell Stone Brook Wood Lake Hill Field Fisher Rivers Green Miller Post Abbott Allen Archer Atkins Bailey Baker
    Banks Barnes Barrow Bates Beck Bennett Berg Bishop Blake Bond Booth Bowman Bright Brown Burke Burns Bush Butler
    Carter Castle Chambers Chase Clark Cole Collins Cooper Cotton Cox Crane Cross Dale Davies Day Dean Dixon Drake
    Duncan Dunn Eaton Ellis Farmer Fields Fletcher Flynn Ford Foster Fox Freeman Frost Gale Gardner Gibson Glover Gold
    Goodman Grant Gray Griffin Hale Hall Harper Harris Hart Hawkins Hayes Heath Henderson Hobbs Holland Holmes Hope
    Horn Hudson Hughes Hunt Jennings Jensen Johnson Jones Keller Kelly King Knight Lamb Lane Larsen Lawson Lee Little
    Lloyd Long Marsh Mason May Meyer Moon Moore Morgan Morris Murphy Nash Newman North Oak Owens Page Palmer Parker
    Patel Pearce Perkins Perry Pike Pond Poole Porter Potts Price Reed Reeves Rhodes Rice Rose Ross Rowe Russell Sands
    Sawyer Sharp Shaw Shepherd Short Silva Singh Skinner Small Smith Snow Sparks Spencer Steele Stokes Summers Swan
    Sweet Taylor Thorn Todd Tucker Turner Underwood Vance Waters Watts Webb Wells West Wheeler Wilkins Winter Wolf
    Wren Wright York Young
""")
JOBS = _phrases("""
    baker | gardener | librarian | carpenter | teacher | farmer | painter | boat builder | nurse | shopkeeper | tailor
    | potter | doctor | cook | shepherd | fisher | weaver | blacksmith | musician | pilot | sailor | dancer | singer |
    writer | builder | plumber | firefighter | driver | captain | scientist | gatekeeper | clockmaker | toymaker |
    beekeeper | lighthouse keeper | florist | butcher | grocer | hairdresser | dentist | photographer | mechanic |
    inventor | juggler | magician | clown | ranger | explorer | astronaut | engineer | judge | mayor | poet | sculptor
    | shoemaker | jeweler | miner | porter | ferryman | bricklayer | roofer | glassblower | puppeteer | storyteller |
    tinker | printer | bookbinder | candlemaker | cheesemaker | miller | acrobat | conductor | drummer | fiddler |
    gamekeeper | diver | zookeeper | surveyor | swimming coach | violin maker
""")
VILLAGE_STARTS = _words("""
    Willow Maple Fox Stone River Apple Cherry Hazel Silver Honey Rose Swan Winter Summer
""")
VILLAGE_ENDS = _words("field brook dale bridge hill ton")
THINGS = _phrases("""
    anchor | atlas | axe | barrel | basin | basket | bathtub | bench | bicycle | blanket | board | boiler | bookcase |
    bottle | bowl | box | brick | broom | brush | bucket | cabinet | cage | calendar | camera | candle | candlestick |
    cane | carpet | chain | chair | chest | clock | comb | cradle | crate | crayon | cup | cupboard | curtain |
    cushion | desk | dish | drawer | dresser | easel | envelope | fan | feather | fork | frame | funnel | globe |
    grater | hammer | hammock | harp | hook | ink bottle | jar | jug | kettle | key | knife | knot | ladder | ladle |
    lamp | lantern | lid | lock | loom | magnifying glass | mat | mirror | mop | mug | nail | napkin | needle | net |
    newspaper | notebook | oar | oven | paintbrush | pan | parcel | pen | pencil | piano | picture | pillow | pin |
    pipe | pitcher | plate | pot | quilt | rack | rag | rake | ring | rod | rope | rug | ruler | sack | saddle |
    saucer | saw | scale | screw | shelf | shovel | sieve | sled | soap dish | spade | spool | spoon | stamp | statue
    | stool | stove | suitcase | table | tablecloth | teapot | thimble | torch | towel | tray | trunk | tub | vase |
    violin | wallet | wheel | wheelbarrow | whistle | window box | wreath
""")
TREASURE_PLURALS = _phrases("""
    acorns | badges | beads | bells | bottle caps | boxes | buttons | candles | cards | chestnuts | coins | cones |
    crystals | dice | feathers | flags | fossils | hats | keys | labels | leaves | letters | maps | marbles | medals |
    needles | nuts | pebbles | petals | photos | pictures | poems | postcards | riddles | rings | seeds | shells |
    spoons | stamps | stickers | strings | teacups | thimbles | tickets | tops | twigs | whistles
""")
FOODS = _phrases("""
    almonds | apples | apricots | asparagus | bacon | beans | beets | biscuits | bread | broccoli | butter | cabbage |
    carrots | cauliflower | celery | cereal | cheese | cherries | chestnuts | chicken | chocolate | cinnamon | cocoa |
    coconut | corn | crackers | cream | cucumber | custard | dates | dumplings | eggs | figs | fish | garlic | ginger
    | gravy | ham | hazelnuts | honey | jam | jelly | ketchup | lemonade | lentils | lettuce | macaroni | mangoes |
    maple syrup | marmalade | milk | mint | mushrooms | mustard | noodles | nuts | oatmeal | olives | omelet | onions
    | oranges | parsley | pasta | peaches | peanuts | pears | peas | pepper | pickles | pineapple | plums | popcorn |
    porridge | potatoes | pumpkin | radishes | raisins | rhubarb | rice | salad | salmon | sauce | sausages |
    spaghetti | spinach | sprouts | squash | stew | sugar | tangerines | toast | tomatoes | turnips | vanilla |
    waffles | walnuts | yogurt | zucchini
""")
BIRDS = _words("""
    blackbird bluebird canary cardinal chickadee cuckoo curlew dove eagle falcon finch flamingo gull hawk heron
    hummingbird jackdaw jay kestrel kingfisher lark linnet magpie mallard nightingale nuthatch oriole osprey ostrich
    partridge peacock pelican pheasant pigeon plover puffin quail raven robin sandpiper seagull skylark snipe
    sparrowhawk starling stork swallow swan swift tern thrush titmouse turkey vulture wagtail warbler woodpecker wren
""")
TREES = _phrases("""
    acacia | alder | apple tree | ash tree | aspen | bamboo | beech | birch | cedar | cherry tree | chestnut tree |
    cypress | elm | fir | hawthorn | hazel bush | hickory | holly bush | hornbeam | juniper | larch | laurel | lime
    tree | linden | magnolia | maple | mulberry tree | oak | olive tree | palm | pear tree | pine | plane tree | plum
    tree | poplar | redwood | rowan | spruce | sycamore | walnut tree | willow | yew
""")
FLOWERS_ONE = _phrases("""
    anemone | aster | azalea | begonia | bluebell | buttercup | camellia | carnation | chrysanthemum | columbine |
    cornflower | crocus | daffodil | dahlia | daisy | dandelion | forget-me-not | foxglove | fuchsia | gardenia |
    geranium | gladiolus | heather | hibiscus | honeysuckle | hyacinth | hydrangea | iris | jasmine | larkspur |
    lavender | lilac | lily | lotus | lupin | marigold | narcissus | nasturtium | orchid | pansy | peony | petunia |
    poppy | primrose | rose | snapdragon | snowdrop | sunflower | sweet pea | thistle | tulip | violet | wallflower |
    water lily | zinnia
""")
INSECTS = _words("""
    ant bee beetle bumblebee butterfly caterpillar cricket dragonfly earwig firefly fly gnat grasshopper hornet
    katydid ladybug mayfly millipede mosquito moth snail spider wasp weevil worm
""")
SEA_ANIMALS = _phrases("""
    clams | cod | crabs | crayfish | dolphins | eels | herrings | jellyfish | lobsters | mackerels | mussels |
    octopuses | oysters | perches | porpoises | prawns | rays | salmon | sardines | sea horses | sea stars | seals |
    sharks | shrimps | squids | sturgeons | swordfish | trouts | tunas | whales
""")
VEHICLES = _phrases("""
    ambulance | barge | bicycle | bus | canoe | caravan | cart | coach | ferry | fire engine | hay wagon | helicopter
    | hot-air balloon | kayak | milk van | motorbike | plow | sailing ship | sleigh | steam train | streetcar |
    submarine | taxi | tractor | tram | tricycle | truck | tugboat | yacht
""")
INSTRUMENTS = _words("""
    accordion banjo bassoon bugle cello clarinet cornet cymbals drums fiddle flute guitar harmonica harp horn kazoo
    lute mandolin oboe organ piano piccolo recorder saxophone tambourine triangle trombone trumpet tuba viola violin
    xylophone zither
""")
COUNTRIES = _words("""
    Africa America Argentina Asia Australia Austria Belgium Bolivia Brazil Canada Chile China Cuba Denmark Egypt
    England Ethiopia Finland France Germany Ghana Greece Greenland Hungary Iceland India Indonesia Ireland Italy
    Jamaica Japan Kenya Korea Lapland Madagascar Mali Mexico Mongolia Morocco Nepal Norway Panama Peru Poland Portugal
    Romania Scotland Senegal Spain Sweden Switzerland Tanzania Thailand Tibet Tunisia Turkey Uganda Vietnam Wales
    Zambia
""")
MOVES = _words("""
    bounced bustled climbed crept danced darted dashed drifted flitted galloped glided hiked hopped hurried jogged
    jumped leaped limped marched meandered paced paraded pattered plodded pranced raced rambled roamed rushed
    sauntered scampered scurried shuffled skipped slipped sneaked sped sprinted stepped stomped strolled strutted
    swung tiptoed toddled tramped trotted trudged waddled wandered zigzagged
""")
MOVE_ADVERBS = _words("""
    awkwardly boldly briskly busily calmly carefully carelessly cheerfully clumsily daintily dreamily eagerly easily
    fearlessly gently gladly gracefully happily hastily hopefully idly joyfully lazily lightly loudly merrily neatly
    nervously nimbly noisily patiently peacefully playfully politely proudly quickly quietly rapidly silently slowly
    smoothly softly speedily steadily swiftly thoughtfully timidly wearily wildly
""")
DOINGS = _phrases("""
    admiring the view | balancing on one leg | blowing bubbles | bouncing a ball | breathing the fresh air | carrying
    a stick | catching raindrops | chatting with the birds | chewing a straw | chuckling | clapping | counting the
    steps | daydreaming | dragging a branch | drumming on the fence | flapping like a bird | galloping like a pony |
    giggling | grinning | holding a leaf | humming | imagining great adventures | inventing a poem | juggling two
    stones | kicking pebbles | listening to the crickets | looking for beetles | making funny faces | mumbling a rhyme
    | munching a nut | naming the clouds | nibbling a blade of grass | nodding to everyone | picking daisies |
    planning a surprise | pretending to be a giant | reciting numbers | rolling a hoop | shouting hello | singing |
    skimming stones | smelling the blossoms | sniffing the air | spinning around | swinging a bag | talking to the
    trees | throwing leaves into the air | thinking of dinner | twirling a twig | waving to the neighbors | whistling
    | wondering about the moon | yawning | yodeling
""")
STONES = _words("""
    agate coal crystal emerald flint garnet granite jade lava limestone marble opal pearl quartz ruby sandstone
    sapphire slate topaz turquoise
""")
NUMBERS = _words("""
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty thirty forty fifty sixty seventy eighty ninety
""")
SHAPES = _words("""
    anchor bear boat bridge camel cat chair comb cow crocodile crown dinosaur dolphin dragon feather fish fountain
    ghost hand hat heart horse hut iceberg island kettle ladder lion loaf mitten mountain mushroom octopus pear pillow
    pirate rabbit rocket sailor sheep shoe snake spoon star swan teapot tower turtle umbrella volcano whale witch
    wizard
""")
SPORTS = _words("""
    badminton baseball basketball billiards bowling boxing cards checkers chess cricket croquet curling darts dice
    dominoes football golf handball hockey lacrosse marbles ping-pong polo rugby skittles soccer softball squash
    tennis volleyball wrestling
""")
TOPICS = _phrases("""
    airplanes | airships | animals | antelopes | asteroids | avalanches | batteries | bridges | caravans | castles |
    caves | cities | comets | computers | coral reefs | crocodiles | dams | deserts | dinosaurs | dragons |
    earthquakes | electricity | elephants | engines | factories | fairies | fossils | galaxies | giants | glaciers |
    gravity | icebergs | inventors | islands | jungles | kings | knights | lighthouses | locomotives | machines |
    magnets | mammoths | medicine | mermaids | meteors | mountains | mummies | museums | oceans | palaces | pirates |
    planets | princesses | pyramids | queens | rainbows | robots | rockets | satellites | shadows | ships | skeletons
    | spaceships | storms | swamps | telescopes | temples | tides | tornadoes | towers | treasures | tunnels |
    vampires | vikings | volcanoes | wagons | waterfalls | weather | windmills | wizards | wolves
""")
HOBBIES = _phrases("""
    baking | bowling | braiding | building | camping | carving | climbing | collecting | cooking | counting |
    crocheting | cycling | dancing | decorating | digging | diving | drawing | embroidering | fencing | fishing |
    folding paper | gardening | guessing riddles | hiking | hunting for bugs | ironing | jumping rope | knitting |
    mending | paddling | painting | planting | puzzling | quilting | rhyming | riding | rowing | running | sailing |
    sculpting | sewing | singing | skating | sketching | skiing | sledding | solving puzzles | spelling | spinning |
    stitching | storytelling | surfing | swimming | tumbling | typing | weaving | whittling | wrapping presents |
    yodeling
""")
BUILDINGS = _phrases("""
    aquarium | arcade | armory | bakery | bank | barbershop | barn | bookshop | brewery | cafe | cathedral | chapel |
    church | cinema | circus | clinic | college | courthouse | dairy | drugstore | factory | fire station | fountain |
    garage | greenhouse | hospital | hotel | inn | kindergarten | laundry | lighthouse | mill | monastery | museum |
    nursery | observatory | office | palace | pharmacy | pier | planetarium | police station | post office | prison |
    quarry | railway station | restaurant | sawmill | school | shipyard | stable | stadium | tavern | theater | town
    hall | university | warehouse | workshop | zoo
""")
FABRICS = _words("""
    calico canvas cashmere cotton corduroy denim flannel fleece fur gauze lace leather linen muslin nylon satin silk
    straw tweed velvet wool
""")
WEATHER_WORDS = _words("""
    blizzard breeze cloudburst downpour drizzle drought fog frost gale hail heat hurricane lightning mist rainstorm
    shower sleet snowfall snowstorm squall sunrise sunset thaw thunderstorm twilight whirlwind
""")
RELATIVES = _phrases("""
    ancestor | brother | cousin | daughter | godfather | godmother | grandson | great-aunt | great-grandmother |
    nephew | niece | pen pal | roommate | sister | stepbrother | stepsister | twin brother | twin sister | schoolmate
    | classmate | partner | penfriend | teammate | neighbor | guest | visitor
""")
MONTHS = _words("January February March April May June July August September October November December")
ADMIRED = _words("""
    adventurous amusing artistic athletic attentive beloved bashful capable carefree charming clumsy comical confident
    considerate contented courageous courteous daring dependable determined diligent easygoing energetic enthusiastic
    fair faithful fearless forgetful forgiving grateful hardworking humble imaginative independent inventive likable
    musical mysterious obedient optimistic outgoing peaceful practical punctual reliable responsible sensitive sincere
    sociable spirited studious sympathetic tactful talented tender tolerant trusting trustworthy truthful unselfish
    witty
""")
CREATURES = _words("""
    aliens angels bats centaurs cyclopes dwarfs elves fauns genies gnomes goblins griffins gryphons imps krakens
    leprechauns merfolk monsters nymphs ogres phantoms phoenixes pixies serpents sphinxes spirits sprites titans
    trolls unicorns yetis cowboys detectives emperors gladiators heroes jesters knights musketeers ninjas outlaws
    pharaohs sheriffs sorcerers spies sultans warriors
""")
DANCES = _phrases("""
    ballet | bolero | cha-cha | conga | fandango | flamenco | foxtrot | gavotte | hornpipe | jig | jive | mambo |
    mazurka | minuet | polka | quadrille | quickstep | reel | rumba | samba | square dance | swing | tango | tap dance
    | twist | waltz
""")
DRINKS = _phrases("""
    blackcurrant juice | buttermilk | cider | coffee | cranberry juice | elderberry juice | eggnog | ginger ale |
    grapefruit juice | iced tea | milkshakes | peppermint tea | punch | root beer | smoothies | soda | sparkling water
    | chamomile tea | syrup | tomato juice
""")
SWEETS = _phrases("""
    brownies | bonbons | candy canes | caramels | cheesecake | cotton candy | cupcakes | doughnuts | eclairs | fudge |
    gingerbread | gumdrops | ice cream | licorice | lollipops | macaroons | marshmallows | marzipan | meringues |
    mints | nougat | parfait | pastries | peppermints | pralines | sherbet | shortbread | sorbet | sponge cake |
    strudel | sundaes | taffy | toffee | truffles | turnovers
""")
HEARD = _words("""
    banged buzzed chimed chirped clanged clanked clattered clicked clinked cracked crackled crashed creaked croaked
    crunched dripped echoed fizzed fluttered grumbled gurgled hissed hooted howled jingled murmured peeped plopped
    popped purred rang rattled roared rumbled rustled scratched sizzled snapped sneezed snored splashed sputtered
    squawked squeaked squealed swished tapped thudded ticked tinkled trickled trilled wailed whined whirred whooshed
""")
VILLAGE_ADJECTIVES = _words("""
    ancient bustling charming cobbled colorful crooked crowded dreamy drowsy enchanting famous foggy forgotten
    friendly grand hidden hilly historic homely lonesome marvelous misty mossy narrow ordinary peaceful picturesque
    pleasant quaint remote rocky rural sandy shady spacious splendid steep sunlit tranquil unusual windswept wealthy
    well-known
""")
LANDFORMS = _words("""
    bay beach bluff canyon cavern cliff coast cove crater creek dune geyser glade glen gorge grove gully headland
    hillside hollow lagoon marsh moor oasis peninsula plain plateau prairie ravine reef ridge riverbank shore slope
    spring summit swamp thicket volcano wetland wilderness woodland
""")
DOGS = _phrases("""
    beagle | boxer | bulldog | chihuahua | collie | corgi | dachshund | dalmatian | foxhound | greyhound | hound |
    husky | labrador | mastiff | mongrel | pointer | poodle | pug | retriever | sheepdog | spaniel | terrier | whippet
    | wolfhound | parakeet | cockatoo | guinea pig | goldfish | tortoise | ferret | salamander | iguana | gecko |
    tarantula | budgie
""")
ORDINALS = _words("""
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
    sixteenth seventeenth eighteenth nineteenth twentieth
""")
HERBS = _words("""
    anise basil cardamom chives cloves coriander cumin curry dill fennel lemongrass mint nutmeg oregano paprika
    rosemary saffron sage tarragon thyme
""")
METALS = _words("""
    aluminum brass bronze copper glass iron lead nickel pewter plaster platinum porcelain rubber steel tin wax wicker
    zinc clay cardboard
""")
SCHOOL_SUBJECTS = _words("""
    algebra arithmetic art astronomy biology botany chemistry drama English French geography geology German grammar
    gymnastics handwriting history Italian Latin literature mathematics music philosophy physics poetry reading
    religion science Spanish spelling writing zoology
""")
WEEKDAYS = _words("Mondays Tuesdays Wednesdays Thursdays Fridays Saturdays Sundays")
