"""Wordings as people type them, by the names that the bundled models are trained on.

Tables map a name to wordings, separated by commas. `core.toybox.lexicon` compares stems, so one form of a
verb or noun stands for all; articles, adverbs, colors and common adjectives between the words do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping

SUBJECT_WORDINGS: Mapping[str, str] = {
    "panda": """
        panda, panda bear, giant panda, panda cub, baby panda, bamboo bear, pandabear, black and white bear
    """,
    "fox": "fox, red fox, orange fox, vixen, foxy, fox cub, fox kit, baby fox",
    "bear": """
        bear, brown bear, grizzly, grizzly bear, bear cub, baby bear, kodiak, kodiak bear, mama bear, papa
        bear
    """,
    "corgi": """
        corgi, corgi dog, puppy, pup, puppy dog, puppydog, doggy, doggie, pooch, welsh corgi, pembroke
        corgi, pembroke welsh corgi, corgi puppy, baby dog, doggo, pupper
    """,
    "rabbit": """
        rabbit, bunny, white rabbit, bunny rabbit, white bunny, hare, easter bunny, easter rabbit, lapin,
        baby rabbit, baby bunny, cottontail
    """,
    "cat": """
        cat, kitten, gray cat, grey cat, kitty, kitty cat, kittycat, pussycat, tomcat, tabby, tabby cat,
        house cat, housecat, feline, gray kitten, grey kitten, baby cat
    """,
    "robot": """
        robot, android, bot, droid, cyborg, humanoid robot, mech, mecha, automaton, machine man, metal man,
        robot toy, little bot
    """,
    "lobster": "lobster, red lobster, crayfish, crawfish, crawdad, langoustine",
    "penguin": "penguin, emperor penguin, king penguin, baby penguin, pinguin",
    "frog": "frog, green frog, toad, tree frog, froggy, froggie, bullfrog, frog prince, kermit",
    "teddy bear": """
        teddy bear, teddy, plush bear, teddybear, stuffed bear, plushie bear, bear plushie, plushie, plush
        toy, stuffed animal, stuffed toy, cuddly toy, soft toy, teddy bear toy, cuddly bear, bear doll, bear
        toy, stuffed teddy bear, plush teddy bear, plush teddy, stuffed teddy
    """,
    "golden retriever": """
        golden retriever, golden retriever dog, yellow dog, dog, retriever, golden dog, labrador, labrador
        retriever, lab dog, yellow lab, hound, golden retriever puppy, canine, good boy dog, mutt, golden
        lab, yellow labrador
    """,
    "horse": "horse, brown horse, pony, stallion, mare, foal, colt, steed, horsey, horsie, baby horse",
    "astronaut": """
        astronaut, spaceman, spacewoman, cosmonaut, space man, space explorer, space traveler, space
        traveller, taikonaut, moonwalker, man in space suit, man in spacesuit, woman in space suit, woman in
        spacesuit, person in space suit, person in spacesuit, astronaut in space suit, astronaut in
        spacesuit
    """,
    "skeleton": """
        skeleton, skeleton man, bag of bones, bony man, man of bones, skelly, undead skeleton, human
        skeleton
    """,
    "dragon": "dragon, purple dragon, baby dragon, dragonling, drake, wyvern, little purple dragon",
    "man": """
        man, boy, guy, gentleman, dude, lad, fellow, bloke, male, young man, old man, dad, father, grandpa,
        grandfather, uncle, kid, child, toddler, person, someone, somebody, human, human being, he,
        schoolboy, student, people, children, folk, husband, king, prince, businessman
    """,
    "woman": """
        woman, girl, lady, gal, female, young woman, old woman, mom, mum, mother, grandma, grandmother,
        aunt, lass, she, schoolgirl, wife, queen, princess, businesswoman
    """,
}

NEAR_SUBJECTS: Mapping[str, str] = {
    "panda": "raccoon, badger, skunk",
    "fox": "wolf, coyote, jackal, red panda, squirrel, dingo, fennec, werewolf",
    "bear": """
        polar bear, koala, sloth, gorilla, monkey, ape, chimpanzee, beaver, bigfoot, yeti, white bear, black
        bear, wombat, capybara, groundhog, elephant, hippo, hippopotamus, rhino, rhinoceros, bruin,
        orangutan, otter, grizzlies
    """,
    "corgi": "dachshund, beagle, terrier, chihuahua, pug, bulldog, shiba, shiba inu, jack russell",
    "rabbit": """
        hamster, mouse, rat, guinea pig, chinchilla, kangaroo, wallaby, sheep, lamb, jackrabbit, wallaroo
    """,
    "cat": """
        lion, tiger, leopard, cheetah, panther, jaguar, lynx, puma, cougar, siamese, siamese cat, persian
        cat, bobcat
    """,
    "robot": "cyberman, terminator, transformer, alien, r2d2, wall e, knight",
    "lobster": "crab, shrimp, prawn, scorpion, crustacean",
    "penguin": """
        duck, duckling, bird, chicken, chick, rooster, hen, owl, parrot, puffin, goose, crow, seal, pigeon
    """,
    "frog": "lizard, gecko, salamander, chameleon, newt, tadpole, turtle, tortoise, iguana, polliwog",
    "golden retriever": """
        poodle, husky, dalmatian, german shepherd, border collie, collie, sheepdog, spaniel, cocker spaniel,
        rottweiler, great dane, saint bernard
    """,
    "horse": """
        donkey, mule, zebra, unicorn, cow, bull, deer, reindeer, moose, goat, camel, llama, alpaca, giraffe,
        pegasus
    """,
    "skeleton": "zombie, ghost, mummy, grim reaper, skull",
    "dragon": """
        dinosaur, dino, t rex, trex, tyrannosaurus, godzilla, monster, crocodile, alligator, raptor,
        reptile, hydra, lizard man, snake
    """,
    "man": """
        pirate, wizard, ninja, superhero, chef, clown, cowboy, santa, santa claus, doctor, scientist,
        soldier, policeman, farmer, musician, teacher, professor, hipster, sailor, viking, businessperson,
        superman, spiderman, spider man, batman, iron man, warrior, shepherd, gnome, elf, dwarf, hobbit,
        baby boy, infant, chap, teenager, samurai, gladiator, vampire, frankenstein, mime, acrobat, athlete,
        singer, worker, builder, fireman, firefighter, detective, spy, thief, magician, caveman, monk,
        priest, boxer, wrestler, waiter, butler, driver, santa clause, king, barista, baker
    """,
    "woman": """
        witch, mermaid, ballerina, nurse, fairy, superheroine, damsel, gentlewoman, goddess, wonder woman,
        geisha, nun
    """,
}
"""Other beings, by the subject that comes nearest; readings of them are reported."""

ACTION_WORDINGS: Mapping[str, str] = {
    "standing": """
        stand, standing still, standing there, standing upright, standing around, stand up, posing, pose,
        strike a pose, idle, idling, do nothing, waiting, wait, looking at camera, look at camera, stare,
        look around, smile at camera, stand in line, stay still, not moving
    """,
    "walking": """
        walk, taking a walk, take a stroll, stroll, go for a walk, out for a walk, on a walk, hiking, hike,
        wander, march, strut, amble, go for a stroll, pace, trek, tiptoe, step forward, stride, saunter, on
        foot, walk around, walk along, walk by, waddle, toddle, crawl, sneak, roam, walker, hiker, wanderer
    """,
    "running": """
        run, jogging, jog, sprinting, sprint, race, go for a run, out for a run, dash, rush, on a run, run
        fast, run away, hurry, gallop, run a marathon, run a race, flee, chase, run around, trot, runner,
        jogger, sprinter
    """,
    "jumping": """
        jump, jumping up, hop, hopping, leap, bounce, jump up and down, jump for joy, jump around, skip,
        jump rope, jump in air, on trampoline, trampoline, do jumping jacks, jumping jacks, leap into air,
        jump high, bounce up and down, bounce around, spring up, do a jump
    """,
    "waving": """
        wave, waving hello, waving a hand, wave its hand, say hello, say hi, say goodbye, say bye, greet,
        wave goodbye, wave at camera, wave at you, wave at us, wave to camera, wave its paw, wave a paw,
        hello, goodbye, wave hi, wave bye, wave its arm, wave to crowd, beckon, high five, raise its hand,
        wave back, wave with its hand, give a wave, say hello to camera
    """,
    "sitting": """
        sit, sitting on the ground, sitting down, seated, sit on floor, take a seat, squat, have a seat, sit
        still, rest, relax, sit around, sit cross legged, meditate, sit and relax, chill, lounge, sit on its
        bottom, take a rest, take a break, sit on ground
    """,
    "dancing": """
        dance, doing a dance, do the twist, boogie, groove, disco, dance around, breakdance, break dance,
        ballet, salsa, tango, waltz, hip hop, do a little dance, bust a move, bust some moves, moonwalk,
        dance to music, tap dance, twerk, shake its body, shimmy, party, dancing the night away, dance
        party, move to music, swing its hips, dance ballet, dance moves, macarena, floss dance, show dance
        moves, dancer, ballerina dancing, prance, dance routine, sway to music, sway to the beat, dance to
        the beat
    """,
    "spinning": """
        spin, turning around, twirl, turn in a circle, rotate, whirl, pirouette, turn on the spot, spin
        around, spin in circles, go round and round, turn round, do a spin, twirl around, do a pirouette,
        turn around itself, go in circles, revolve, spin like a top, turn in place, rotate in place, do a
        twirl, spin in place, turn, whirl around
    """,
    "on a swing": """
        on swing, on swing set, swing, swinging on a swing, swing set, swingset, on the swings, sit on
        swing, ride swing, play on swing, swing back and forth, swing on playground, sway on swing, swing in
        air, have fun on swing, swing on swing set, on playground swing, swing to and fro, sit on swing set,
        swing high, on tire swing, swing through air, enjoy swing, porch swing, rope swing
    """,
    "holding a game controller": """
        hold game controller, hold video game controller, hold controller, play with gamepad, gamepad, game
        pad, controller, joystick, video game, videogame, play video game, play game, gaming, game, computer
        game, console, game console, play on console, nintendo, nintendo switch, xbox, xbox controller,
        playstation, play station, playstation controller, gamer, play with controller, press button on
        controller, joypad, use gamepad, with controller, video gaming, play a video game, play computer
        game, use controller, arcade game, play arcade, mario kart, play nintendo, play xbox, play
        playstation, esport, play on game console, video game controller
    """,
    "playing a guitar": """
        play guitar, strum guitar, with guitar, guitar, electric guitar, acoustic guitar, bass guitar,
        guitarist, strum, play guitar solo, rock out on guitar, shred guitar, shred on guitar, jam on
        guitar, jam on electric guitar, play electric guitar, play acoustic guitar, hold guitar, guitar
        solo, guitar player, play a song on guitar, play a tune on guitar, play on guitar, practice guitar,
        play music on guitar, perform on guitar, play bass guitar, strum a tune on guitar
    """,
    "playing a saxophone": """
        play saxophone, play sax, saxophone, sax, saxophonist, play jazz on saxophone, play jazz, saxophone
        player, jazz musician, blow saxophone, blow into saxophone, blow sax, with saxophone, tenor sax,
        alto sax, hold saxophone, sax player, play tenor sax, play alto sax, jazz, play music on saxophone,
        play a tune on sax, play a tune on saxophone, sax solo, play sax solo, play blues on saxophone, play
        blues on sax, play jazz on sax, play saxophone solo
    """,
    "wearing a beret": """
        wear beret, in beret, with beret, beret, french hat, wear french hat, in french hat, with french
        hat, french cap, french beret, wear french beret, parisian hat, parisian beret, artist's hat, artist
        hat, painter's hat, beret on head, wear beret on its head, beret on its head, french style hat, wear
        french cap, put on beret, basque beret, dressed in beret, sport beret, dress like french, dressed as
        frenchman, dressed like frenchman
    """,
    "holding a baguette": """
        hold baguette, with baguette, carry baguette, baguette, french bread, hold french bread, loaf of
        bread, bread, carry bread, with bread, loaf, hold loaf, hold loaf of bread, french loaf, bread
        stick, breadstick, carry loaf of bread, bread loaf, with french bread, hold bread, bring baguette
        home, buy baguette, eat baguette, long bread, carry french bread, clutch baguette
    """,
    "wearing a beret and holding a baguette": """
        beret and baguette, wear beret with baguette, in beret with baguette, with beret and baguette, with
        baguette and beret, baguette and beret, dressed as parisian, look french, look very french, dressed
        like parisian, typical french
    """,
    "riding a skateboard": """
        ride skateboard, on skateboard, skateboard, skateboarding on a board, skater, skateboarding, skate,
        skate board, ride on skateboard, stand on skateboard, do a kickflip, kickflip, ride longboard,
        longboard, on longboard, skate on skateboard, ollie, skate at skate park, skatepark, roll on
        skateboard, cruise on skateboard, skate park, do skateboard tricks, ride a board, on skate board,
        skateboarder, sk8, do tricks on skateboard, skateboard trick, on a board
    """,
    "riding a bicycle": """
        ride bicycle, ride bike, on bicycle, cycle on bike, bicycle, bike, cycling, cycle, on bike, pedal,
        pedaling, pedalling, pedal bike, biking, cyclist, ride on bike, bike ride, on a bike ride, go for a
        bike ride, push bike, mountain bike, ride mountain bike, on mountain bike, pushbike, ride its
        bicycle to work, take a bike ride, ride around on bike, ride around on bicycle, bmx, bmx bike, pedal
        bicycle, tour de france, racing bike, cruise on bike, road bike, two wheeler, tandem, ride tandem,
        on tandem
    """,
    "riding a horse": """
        ride horse, on horse, on horseback, horseback, horseback riding, horse riding, ride pony, on pony,
        ride on horse, ride on horseback, on back of horse, on top of horse, atop horse, sit on horse, sit
        on pony, mount on horse, mounted on horse, equestrian, gallop on horse, ride brown horse, ride
        stallion, on stallion, atop pony, ride mare, jockey, ride bareback, ride steed, gallop on horseback,
        astride horse, go horse riding, rodeo, on top of pony, ride on pony, ride white horse, horse ride,
        pony ride
    """,
    "eating ice cream": """
        eat ice cream, eat ice cream cone, lick ice cream, ice cream, icecream, ice cream cone, gelato, eat
        gelato, sundae, popsicle, frozen yogurt, enjoy ice cream, have ice cream, lick ice cream cone, ice
        lolly, scoop of ice cream, cone of ice cream, with ice cream, hold ice cream, hold ice cream cone,
        with ice cream cone, enjoy ice cream cone, soft serve, sorbet, eat icecream, eat sorbet, eat
        popsicle, lick popsicle, eat sundae, slurp ice cream, eat cone, lick cone, eat scoop of ice cream,
        lolly
    """,
    "drinking a glass of juice": """
        drink glass of juice, drink from glass of juice, drink juice, drink, juice, sip, glass of juice,
        have drink, have juice, drink wine, drink glass of wine, glass of wine, wine, sip wine, drink water,
        glass of water, drink glass of water, drink milk, glass of milk, drink beer, beer, drink soda, soda,
        drink lemonade, lemonade, drink cocktail, cocktail, smoothie, drink smoothie, milkshake, drink
        coffee, drink tea, coffee, cup of coffee, cup of tea, drink cup of coffee, drink cup of tea, sip
        juice, sip tea, sip coffee, with drink, hold drink, hold glass, hold glass of juice, orange juice,
        drink from glass, drink from straw, cola, drink cola, gulp, gulp juice, pint of beer, glass of beer,
        with glass of wine, with glass of juice, quench its thirst, thirsty, have a beverage, beverage, lime
        juice, apple juice, grape juice, drink something, sip cocktail, sip lemonade, slurp, guzzle, take a
        sip, glass of lemonade, have glass of wine, champagne, whiskey, hot chocolate, bubble tea, glass of
        orange juice, sip from glass, cup of juice, drink a cup of juice, tea
    """,
    "painting at an easel with paint": """
        paint at easel, paint at easel with paint, paint picture, paint picture with paint, paint on canvas,
        paint on canvas with paint, painting, paint, easel, canvas, at easel, in front of canvas, in front
        of easel, paint portrait, paint landscape, make painting, make art, create art, paint a painting, do
        a painting, artist, painter, work on painting, draw picture, draw, watercolor, oil painting, hold
        paintbrush, hold brush, with brush, with paintbrush, paint with brush, sketch at easel, paint
        masterpiece, paint canvas, being an artist, as artist, as painter, with palette, hold palette, draw
        on canvas, work at easel, hold palette and brush, paint self portrait, draw something, paint with
        watercolor
    """,
    "reading a book": """
        read book, with open book, read from book, read, book, read newspaper, read story, read novel, study
        book, novel, bookworm, storybook, look at book, hold book, look into book, flip page, turn page,
        with book, read a good book, enjoy book, open book, read magazine, read comic, comic book, nose in
        book, in book, engrossed in book, read bedtime story, page through book, buried in book, read poem,
        read poetry, read textbook, do some reading, study, leaf through book, magazine, newspaper
    """,
    "holding a umbrella": """
        hold umbrella, under umbrella, with umbrella, umbrella, parasol, with parasol, under parasol, hold
        parasol, carry umbrella, carry parasol, brolly, open umbrella, shelter under umbrella, stand under
        umbrella, walk with umbrella, walk under umbrella, use umbrella, stay dry under umbrella, shelter
        from rain, umbrella over its head, hold umbrella over its head, mary poppins, keep dry, hide under
        umbrella, stand with umbrella
    """,
    "holding a balloon": """
        hold balloon, with balloon, balloon, carry balloon, hold balloon on string, balloon on string, party
        balloon, helium balloon, hold helium balloon, fly balloon, grip balloon, hold string of balloon,
        walk with balloon, birthday balloon, balloon in hand, has balloon, play with balloon, hold party
        balloon, get balloon, clutch balloon, inflated balloon, baloon, hold baloon
    """,
    "mixing chemicals": """
        mix chemical, mix chemical in flask, pour chemical, chemical, chemistry, do science experiment,
        science experiment, experiment, do experiment, do chemistry, do science, chemistry experiment,
        conduct experiment, mix potion, potion, brew potion, cook up potion, make potion, in laboratory, in
        lab, lab, laboratory, mad scientist, chemist, test tube, flask, beaker, mix liquid, pour liquid,
        work in lab, work in laboratory, mix colorful liquid, play scientist, in science lab, mix sparkling
        chemical, concoct potion, brew, stir potion, run experiment, alchemist, alchemy, concoction,
        science, pour potion, mix elixir, elixir, with flask, hold flask, hold test tube, with test tube, as
        chemist, perform experiment, perform science experiment, carry out experiment, bubbling flask,
        chemistry class, chemistry set, science class, chemistry lab, science project, mix concoction, pour
        green liquid, pour glowing liquid, pour liquid from flask, in chemistry lab
    """,
    "juggling balls": """
        juggle ball, juggle, juggle three ball, juggler, juggling act, throw ball in air, toss ball, juggle
        with ball, ball in air, circus act, keep ball in air, juggle ball in air, toss ball in air, throw
        ball up, juggle several ball, do a juggling act, practice juggling, perform juggling, do juggling
        trick, circus juggler, jugle, juggle bowling pin, juggle orange, juggle apple, juggle club
    """,
    "lifting weights": """
        lift weight, lift barbell, barbell, dumbbell, dumbell, lift dumbbell, work out, workout,
        weightlifting, weight lifting, weightlifter, lift heavy weight, pump iron, gym, at gym, in gym,
        exercise, bodybuilder, bodybuilding, train with weight, bench press, deadlift, do deadlift, lift,
        powerlifting, hold barbell, hit the gym, hold weight, weight training, strength training, do
        exercise, weight, work out with weight, overhead press, lift heavy barbell, do bench press, work out
        at gym, lifter, press weight, raise barbell, powerlifter, strongman, pump some iron, do workout, do
        weightlifting, curl dumbbell
    """,
    "in a calculus class": """
        in calculus class, in math class, in front of blackboard, calculus, math, maths, blackboard,
        chalkboard, in front of chalkboard, at blackboard, classroom, in classroom, in class, at school, in
        school, lecture, calculus lesson, math lesson, maths lesson, maths class, learn calculus, learn
        math, study math, study calculus, teach math, teach calculus, teach class, give lecture, do math, do
        calculus, solve equation, write on blackboard, write on board, equation, mathematics, algebra,
        geometry, attend lecture, attend class, solve math problem, math problem, take calculus, whiteboard,
        mathematician, math teacher, as teacher, homework, teach, teach lesson, explain math, explain
        calculus, learn mathematics, study mathematics, at university, write equation, school, lesson,
        physics class, write on chalkboard, algebra class, calculus lecture, math lecture, stand at
        blackboard
    """,
}

NEAR_ACTIONS: Mapping[str, str] = {
    "standing": """
        look, watch, think, cook, talk, speak, sing, yawn, stretch, hide, shop, howl, shout, sneeze, roar
    """,
    "walking": "explore, travel, walk dog, follow, walk tightrope, go, move, climb, creep",
    "running": """
        play soccer, play football, play basketball, play tennis, soccer, football, basketball, tennis, play
        sport, play tag, escape, ski race
    """,
    "jumping": """
        play, fly, flying, float, do backflip, backflip, somersault, do somersault, do cartwheel, cartwheel,
        celebrate, cheer, play around, have fun, frolic, do gymnastics, do parkour
    """,
    "sitting": """
        sleep, nap, lie, lie down, lying, take a nap, fish, fishing, do yoga, yoga, kneel, watch tv, watch
        television, camp, lay, sunbathe, picnic, have picnic, doze, snooze
    """,
    "waving": "clap, applaud, point, salute, shake hand, give thumbs up, thumbs up, cheer on",
    "dancing": """
        hula hoop, fight, box, boxing, karate, do karate, kung fu, do kung fu, conduct orchestra, conduct,
        fence, do martial arts, aerobics, zumba, sing and dance, listen to music, headbang, DJ, dj, sway
    """,
    "spinning": "ice skating, figure skating, roll, dizzy, tornado",
    "on a swing": "seesaw, on seesaw, slide, playground slide, hammock, in hammock, rocking chair, trapeze",
    "holding a game controller": """
        phone, smartphone, use phone, play chess, chess, tablet, ipad, laptop, computer, use computer, type
        on laptop, use laptop, remote control, hold remote, text on phone, work at computer, play card,
        poker, play poker, type, type on keyboard, keyboard, type on computer
    """,
    "playing a guitar": """
        violin, play violin, ukulele, play ukulele, banjo, play banjo, cello, play cello, harp, play harp,
        piano, play piano, drum, play drum, play instrument, play music, bass, play bass, play musical
        instrument, rock star, rockstar, in band, rock band, make music, mandolin, lute, accordion, play
        lute, rock concert, fiddle, play fiddle, sing a song
    """,
    "playing a saxophone": """
        trumpet, play trumpet, flute, play flute, clarinet, play clarinet, trombone, play trombone, tuba,
        play tuba, horn, play horn, bagpipe, play bagpipe, recorder, play recorder, harmonica, play
        harmonica, oboe, blow trumpet, bugle
    """,
    "wearing a beret": """
        hat, wear hat, in hat, with hat, cap, wear cap, helmet, crown, beanie, top hat, wear top hat, in top
        hat, sombrero, wear sombrero, cowboy hat, wear cowboy hat, wear crown, wear helmet, party hat, wear
        party hat, wizard hat, straw hat, santa hat, baseball cap, sun hat, fedora, bonnet, fez, headwear,
        headgear
    """,
    "holding a baguette": """
        sandwich, hot dog, hold sword, sword, hold stick, stick, eat bread, eat sandwich, hotdog, eat hot
        dog, pizza, eat pizza, burger, eat burger, hold hot dog, lightsaber, baseball bat, wand, croissant,
        eat croissant, cake, eat cake, rolling pin, bake bread, bake
    """,
    "riding a skateboard": """
        surf, surfing, surfboard, on surfboard, snowboard, snowboarding, on snowboard, ski, skiing, sled,
        sledding, on sled, hoverboard, on hoverboard, roller skate, roller skating, rollerblade,
        rollerskate, skis, on skis, ride surfboard, ride wave, surf wave, on roller skates, ride hoverboard,
        magic carpet
    """,
    "riding a bicycle": """
        scooter, ride scooter, on scooter, motorcycle, ride motorcycle, on motorcycle, motorbike, ride
        motorbike, on motorbike, unicycle, ride unicycle, on unicycle, tricycle, ride tricycle, on tricycle,
        vespa, moped, drive car, drive race car, drive truck, on vespa, e bike, harley, drive, drive bus, in
        car
    """,
    "riding a horse": """
        ride, ride camel, ride elephant, ride donkey, on donkey, on camel, ride unicorn, on unicorn, ride
        dragon, on dragon, ride bull, ride zebra, ride llama, ride cow, rocking horse, ride dinosaur, on
        elephant, ride on elephant, ride lion, ride on dragon, ride on unicorn, ride tiger, ride reindeer,
        carousel
    """,
    "eating ice cream": """
        eat candy, lollipop, candy, eat lollipop, lick lollipop, eat cupcake, cupcake, cotton candy, eat
        cotton candy, eat apple, eat banana, banana, apple, eat fruit, carrot, eat carrot, dessert, eat
        dessert, eat donut, donut, hold microphone, microphone, sing into microphone, eat cookie, cookie,
        eat chocolate, popcorn, eat popcorn, eat snack, hold flower, flower, hold torch, eat watermelon,
        eat, lick, munch, snack, eat honey, bite, chew, nibble, gobble, devour, feast, munch on
    """,
    "drinking a glass of juice": "soup, eat soup, drink potion, bottle, hold bottle, hold cup, cup, mug",
    "painting at an easel with paint": """
        paint wall, graffiti, spray paint, draw on wall, color, craft, paint fence, sculpt, photograph
        landscape
    """,
    "reading a book": """
        write, write letter, letter, read letter, map, read map, hold map, hold newspaper, write in
        notebook, notebook, hold letter, write book, diary, hold sign, read sign, write poem, menu
    """,
    "holding a umbrella": """
        parachute, with parachute, beach umbrella, hold parachute, parachuting, flag, hold flag, wave flag,
        hold lantern
    """,
    "holding a balloon": """
        kite, fly kite, hot air balloon, in hot air balloon, bubble, blow bubble, balloon animal, blow up
        balloon
    """,
    "mixing chemicals": """
        cocktail shaker, cook soup, stir pot, cook in kitchen, cast spell, do magic, magic, bartend, mix
        drink, cook dinner, cook meal, make cocktail, prepare food, make soup, mix cocktail
    """,
    "juggling balls": """
        ball, play with ball, throw ball, bounce ball, play ball, catch ball, beach ball, snowball, throw
        snowball, play catch, volleyball, play volleyball, play baseball, throw, catch, perform magic trick,
        magic trick, bowl
    """,
    "lifting weights": """
        push up, do push ups, pushup, do pushups, lift rock, lift box, carry box, pull up, crossfit, do pull
        ups, carry log, lift log, lift car, lift stone
    """,
    "in a calculus class": """
        give speech, give presentation, presentation, take exam, exam, do homework, in office, in meeting,
        meeting, press conference, graduate, graduation, lecturing, in library, give a talk
    """,
}
"""Other activities and props, by the action that comes nearest; readings of them are reported."""

PLACE_WORDINGS: Mapping[str, str] = {
    "on a beach": """
        on beach, at beach, on sand by sea, beach, seaside, sea side, seashore, sea, ocean, shore, coast,
        sand, by sea, by ocean, on sand, sandy beach, tropical island, island, bay, at sea side, lakeside,
        by lake, waterfront, tropical beach, by water, on shore, riverbank, by river, at lake, lake
    """,
    "on a beach at sunset": """
        on beach at sunset, at beach at sunset, on sunset beach, sunset, at sunset, at dusk, dusk, sunrise,
        at sunrise, at dawn, dawn, evening sun, golden hour, at golden hour, setting sun, sun set, sun go
        down, sun is setting, twilight, beach in evening, sea at sunset, ocean at sunset, seaside at sunset,
        in evening, evening, by sea at sunset, beach at dusk, beach at sunrise, sundown, at sundown
    """,
    "in the snow": """
        in snow, on snowy day, in falling snow, snow, snowy, snowing, winter, blizzard, snowfall, snowstorm,
        snowy field, in winter, on ice, ice, icy, arctic, antarctica, antarctic, north pole, south pole,
        winter wonderland, snowy landscape, snowy forest, snowflake, while it snows, snowy mountain, at
        christmas, in heavy snow, snow falls, on snow, frozen lake, frozen pond, winter day, glacier,
        iceberg
    """,
    "on the grass": """
        on grass, in park, in meadow, grass, grassy, meadow, lawn, on lawn, park, garden, in garden, field,
        green field, grass field, grassy field, pasture, backyard, back yard, yard, playground, at
        playground, on playground, countryside, outdoors, outside, in nature, nature, hill, grassy hill,
        spring meadow, prairie, picnic area, in open, summer day, on sunny day, sunny day, sunny, in sun,
        grassland, green meadow, wildflower, flower field, flower meadow, field of grass, field of flower,
        field of wildflower, garden lawn, blue sky, under blue sky, clear sky, sky
    """,
    "at night": """
        at night, under star, in night, night, nighttime, night time, night sky, under night sky, stars,
        starry sky, starry night, under starry sky, moonlight, in moonlight, moonlit, midnight, at midnight,
        in dark, dark, darkness, starlight, in starlight, under moon, full moon, under full moon, starry,
        star filled sky, late at night, by night, beneath star, moonlit night, by moonlight, starlit,
        starlit sky
    """,
    "in the rain": """
        in rain, in heavy rain, on rainy day, rain, rainy, raining, rainstorm, storm, thunderstorm, drizzle,
        downpour, pouring rain, in pouring rain, rainfall, stormy, in storm, monsoon, rainy day, wet
        weather, bad weather, while it rains, shower of rain, stormy weather, heavy rain
    """,
}

NEAR_PLACES: Mapping[str, str] = {
    "on a beach": "desert, in desert, pool, swimming pool, by pool, harbor, pier, dune, savanna, sahara",
    "on the grass": """
        forest, in forest, woods, in woods, jungle, in jungle, mountain, on mountain, in mountains, farm, on
        farm, valley, zoo, bamboo forest, golf course, stadium, soccer field, football field, rainforest,
        savannah, village, campsite, swamp, orchard, vineyard, mountain top, on top of mountain
    """,
    "at night": """
        space, in space, outer space, in outer space, on moon, moon, galaxy, in galaxy, in orbit, universe,
        mars, on mars, on planet, deep space, milky way, planet, on other planet, cave, in cave, northern
        lights, aurora, black background, dark background, cosmos, surface of moon, on surface of moon
    """,
}
"""Other places, by the place that comes nearest; readings of them are reported."""

PLAIN = """
    on background, against background, with background, in front of background, background, backdrop, on
    backdrop, against backdrop, with backdrop, wall, in front of wall, against wall, in front of backdrop,
    studio, in studio, studio background, studio backdrop, color background, studio wall, before background
"""

BACKDROP_COLORS: Mapping[str, str] = {
    "white": "white, cream, ivory, beige, bright, blank, empty, transparent",
    "gray": "gray, grey, silver, light gray, light grey, concrete, neutral",
    "light blue": """
        light blue, blue, sky blue, pale blue, baby blue, cyan, turquoise, teal, azure, aqua, dark blue,
        navy, navy blue
    """,
    "pink": "pink, light pink, rose, magenta, hot pink, salmon",
    "green": "green, light green, mint, mint green, lime, pale green, dark green, olive",
    "yellow": "yellow, light yellow, gold, golden, pale yellow, lemon",
    "purple": "purple, violet, lavender, lilac, light purple, indigo, mauve",
    "orange": "orange, light orange, peach, apricot, tangerine",
}

NEAR_BACKDROP_COLORS: Mapping[str, str] = {
    "pink": "red",
    "gray": "black, dark",
    "orange": "brown",
}

COLOR_WORDINGS: Mapping[str, str] = {
    "red": "red, crimson, scarlet, ruby, cherry, burgundy, maroon, dark red, bright red",
    "orange": "orange, tangerine, amber, copper, apricot, mango, peach",
    "yellow": "yellow, gold, golden, lemon, mustard, bright yellow",
    "green": """
        green, lime, emerald, mint, olive, teal, turquoise, dark green, light green, pistachio, neon green
    """,
    "blue": """
        blue, navy, azure, cyan, sky blue, light blue, dark blue, navy blue, indigo, cobalt, blueberry, aqua
    """,
    "purple": "purple, violet, lavender, lilac, plum, mauve, grape",
    "pink": "pink, magenta, rose, fuchsia, strawberry, raspberry, hot pink, salmon, coral, bubblegum",
    "white": "white, ivory, cream, vanilla, snow white, coconut",
    "black": "black, jet black, dark chocolate, chocolate, ebony",
}

UNKNOWN_COLORS = "gray, grey, silver, brown, beige, bronze, rainbow, multicolored, tan"

NATURAL_COLORS: Mapping[str, str] = {
    "panda": "black, white, black and white",
    "fox": "red, orange",
    "bear": "brown",
    "corgi": "orange, brown, tan, white",
    "rabbit": "white",
    "cat": "gray, grey",
    "robot": "gray, grey, silver",
    "lobster": "red",
    "penguin": "black, white",
    "frog": "green",
    "teddy bear": "brown, tan",
    "golden retriever": "yellow, golden",
    "horse": "brown",
    "astronaut": "white",
    "skeleton": "white",
    "dragon": "purple",
}
"""Colors that subjects have; in captions some belong to their names."""

PROP_COLOR_HINTS: Mapping[str, str] = {
    "red": "wine, red wine",
    "yellow": "beer, champagne, lemonade, apple juice",
    "white": "milk, white wine, milkshake",
    "blue": "water",
    "black": "cola, coffee, hot chocolate",
    "orange": "orange juice, tea, whiskey",
    "purple": "grape juice",
    "green": "lime juice",
    "pink": "smoothie",
}
"""Drinks by the color of the juice that stands for them."""

OPENINGS: Mapping[str, str] = {
    "a cute {}": "cute, adorable, sweet, lovely, fluffy, pretty, cuddly, kawaii, charming, darling, cutest",
    "a little {}": "little, tiny, small, mini, miniature, baby, wee, teeny, smol",
    "a photo of a {}": """
        photo of, photograph of, photo, photograph, snapshot of, photorealistic, realistic photo of, dslr
        photo of, stock photo of, dslr photo, photography of
    """,
    "a picture of a {}": """
        picture of, image of, drawing of, painting of, illustration of, sketch of, picture, image, oil
        painting of, watercolor of, watercolor painting of, artwork of, art of, poster of, painting shows,
        portrait of, illustration, digital art of, pencil drawing of
    """,
    "a 3d render of a {}": """
        3d render of, render of, 3d rendering of, rendering of, 3d model of, cgi, 3d render, 3d, rendered,
        blender render of, octane render, octane render of, 3d rendered, 3d model, cgi render of, computer
        generated, 3d animation of, render, pixar style, pixar, in style of pixar, unreal engine
    """,
    "a cartoon {}": """
        cartoon, animated, cartoon of, anime, cartoonish, comic style, cartoon style, disney, disney style,
        animation of, cartoon character, animation, in cartoon style, as cartoon
    """,
    "a toy {}": """
        toy, plastic, lego, figurine, wooden, wind up, clay, claymation, toylike, figure of, statue of,
        figurine of, plasticine, miniature figure of, plush, stuffed, inflatable
    """,
}
"""Openings of captions by the words that ask for them."""

TRAINED_ELEVATIONS = (-8, 45)  # degrees, the limits of the bundled models' training views

VIEWS: Mapping[tuple[float | None, float | None], str] = {
    (0.0, None): """
        front view, frontal view, from front, face camera, facing the viewer, facing us, face on, head on,
        frontal, front on, front shot, front facing, facing forward, face forward, straight on, seen from
        front, viewed from front, view from front, look into camera, look straight at camera, frontal shot,
        face the camera, facing front, front side, from in front, facing me, toward camera, towards camera,
        toward viewer, towards viewer, toward us, towards us, face viewer
    """,
    (180.0, None): """
        from behind, from back, back view, rear view, view from behind, seen from behind, view from back,
        seen from back, from rear, behind view, backside view, face away, facing away, facing away from
        camera, face away from camera, back turned, back to camera, back to us, with its back to camera,
        with its back to us, with its back turned, turn its back, viewed from behind, shot from behind,
        filmed from behind, from backside, rear shot, back shot, away from camera, away from us, turn away
        from camera, with its back turned to camera, with its back turned to us, back side, rear side, back
        turned to camera, back turned to us, back to viewer, with back to viewer, with back to camera, into
        distance, from its back, from its behind, looking away from camera, turned away, dorsal view, away,
        back toward viewer, back toward camera, back toward us, with its back toward camera, with its back
        toward viewer, back towards camera, back towards us, with its back towards us, facing other way,
        face other way, back of, rear of
    """,
    (90.0, None): """
        side view, from side, profile, in profile, side profile, profile view, side on, sideways, from left,
        left view, from left side, left side view, left profile, facing left, face left, seen from side,
        view from side, viewed from side, lateral view, side shot, profile shot, sideview, seen from left,
        viewed from left, look left, looking to left, view from left, from one side, seen from left side,
        from its left, from its left side, left side, from its side, side angle, to left, leftward, facing
        to left, turned to left, side facing, in side view, seen in profile
    """,
    (270.0, None): """
        from right, right view, from right side, right side view, right profile, facing right, face right,
        seen from right, viewed from right, look right, looking to right, view from right, seen from right
        side, from its right, from its right side, right side, facing to right, turned to right, from other
        side, to right, rightward
    """,
    (
        45.0,
        None,
    ): """
        three quarter view, 3 4 view, three quarters view, from an angle, at an angle, diagonal view, from
        front left, at angle, three quarter profile, angled view, semi profile, oblique view, 3 quarter
        view, three quarter
    """,
    (315.0, None): "from front right",
    (
        135.0,
        None,
    ): """
        from back left, from behind left, rear three quarter view, over shoulder, over its shoulder, over
        shoulder view, over shoulder shot, from back side angle
    """,
    (225.0, None): "from back right, from behind right",
    (None, 35.0): """
        from above, top view, bird's eye view, birds eye view, bird's eye, high angle, overhead, overhead
        view, overhead shot, from overhead, high angle shot, seen from above, view from above, top down, top
        down view, aerial view, looking down on, look down on, viewed from above, from high angle, aerial
        shot, from top, drone shot, drone view, drone footage, from higher up, from high up, isometric,
        isometric view, from bird's eye view, high camera, shot from above, from sky, high angle view
    """,
    (
        None,
        -5.0,
    ): """
        from below, low angle, low angle shot, worm's eye view, worms eye view, worm's eye, seen from below,
        view from below, from ground, from ground level, ground level, looking up at, from low angle, viewed
        from below, bottom view, shot from below, from underneath, from beneath, from down low, low camera,
        from floor, low angle view, frog perspective
    """,
    (None, 5.0): "eye level, at eye level, eye level shot, from eye level",
    (45.0, 35.0): "isometric render, isometric 3d",
    (180.0, 35.0): """
        from behind and above, from above and behind, seen from behind and above, seen from above and behind,
        viewed from behind and above, view from behind and above, shot from behind and above
    """,
    (90.0, 35.0): """
        from side and above, from above and side, seen from side and above, seen from above and side,
        viewed from side and above, view from side and above, shot from side and above
    """,
}
"""Cameras (azimuth, elevation) in degrees by the words for them; None is left open.

Left and right are the figure's own: from the left, its left side is seen, and it faces the
left of the picture.
"""

FRAMINGS = """
    close up, closeup, close up of, closeup of, close up shot of, close up shot, zoom in on, zoomed in,
    macro, macro shot of, headshot, headshot of, head shot, face shot, extreme close up, bust, close view,
    detail shot, close up view, close up photo of, close up portrait of, closeup photo of, closeup shot of,
    very close
"""

CAMERA_MOTIONS = """
    zoom in, zoom out, panning, panning shot, tracking shot, dolly, dolly zoom, camera orbit, orbit, camera
    move, camera pan, camera zoom, camera rotate, camera circle, timelapse, time lapse, slow motion, slow
    mo, slomo, camera turn, fly through, handheld camera, crane shot, moving camera, camera spin, camera
    fly, camera follow, shaky camera, 360 view, 360 degree view, turntable
"""

PAIR_COUNTS = """
    two, 2, both, pair of, couple of, duo of, twin, twins, duo, 2x, team of two, group of two, pair,
    another, second, two identical, two of, pair of identical, two different
"""

MANY_COUNTS = """
    three, four, five, six, seven, eight, nine, ten, 3, 4, 5, 6, 7, 8, 9, 10, many, several, group of, bunch
    of, crowd of, herd of, pack of, family of, dozen, trio of, a few, few, lots of, lot of, band of, dozens
    of, hundred, hundreds of, team of, gang of, trio, multiple, army of, row of, flock of, dozens
"""

COUPLES = """
    couple, lovers, newlyweds, couple in love, man and woman, woman and man, boy and girl, girl and boy,
    husband and wife, married couple, romantic couple, young couple, old couple, elderly couple, lady and
    gentleman, guy and girl, boyfriend and girlfriend, pair of lovers, bride and groom, sweethearts
"""

BRUSHES = """
    brush, paintbrush, paint brush, brush painting, paintbrush painting, brush paint on canvas, paintbrush
    paint on canvas, paint brush paint on canvas, brush stroke, brush painting canvas, paintbrush painting
    by itself, brush painting by itself, magic brush, artist's brush, artist brush
"""

FILLERS = """
    hold, love, enjoy, like to, wear, have, do, can, work, give, perform, attend, camera, us, we, you, me,
    joy, head, hand, paw, paws, long, round, get, use, carry, want, see, circus, art, try, start, begin,
    face, body, today, again, both, lot, i, one day, busy, keep, learn, practice, who, there, bring, put,
    hold up, himself, herself, itself, themselves, outfit, happy, sad, cruise, rockin, ever, any, kind of,
    sort of, please draw, draw me, draw picture of, paint me, paint picture of, please paint, draw us,
    please make, imagine, funny, smile, laugh, cry, angry, silly, cheerful, joyful, excited, smiling,
    friendly, brave, clever, lazy, sleepy, big, large, huge, giant, fat, chubby, tall, short, old, new,
    shiny, beautiful, nice, good, great, cool, awesome, magic, magical, amazing, fancy, elegant, colorful,
    furry, soft, fuzzy, wild, wise, curious, playful, proud, high quality, hd, 4k, 8k, ultra hd, cinematic,
    detailed, highly detailed, realistic, masterpiece, best quality, trending on artstation, hyperrealistic,
    high resolution, sharp focus, vibrant, dramatic lighting, soft lighting, video of, video, clip of, clip,
    gif of, gif, short clip of, short video of, footage of, scene of, scene, shot of, shot, show, showing,
    view of, view, style, in style of, please, looping, loop, animated gif of, movie of, film of, loop of,
    seen, viewed, facing camera direction, watched, filmed, lone, single, one, solo, make, generate, create,
    show me, give me, i want, can you, could you, let, quickly, fast, slowly, alone, by itself, all by
    itself, by himself, by herself, together, side by side, next to each other, each other, along, around,
    merrily, plain, solid, simple, bright, light, dark, pale, neon, striped, wooden, toy, classic, full
    body, full body shot of, full body shot, wide shot, wide shot of, long shot, medium shot, whole body,
    vintage, retro, modern, favorite, own, pair, time, moment, day, way, like, lovely, gentle, gently,
    joyously, looking, having fun, enjoying itself, enthusiastically, energetic, crazy, goofy, super, ultra,
    world, famous, up, down, back, forth, here, while, loud, quiet, cold, warm, hot, sunny, calm, fresh,
    delicious, tasty, yummy, young, elderly, vs, versus, meet, lonely, loneliest, grumpy, olympic, tired,
    bored, hungry, scared, shy, evil, mysterious, majestic, handsome, pretty, strong, muscular, skinny,
    dressed, trip, jam, pull, serve, explain, explaining, stage, somewhere, mr, mrs, professional, talented,
    skilled, determined, focused, relaxed, mini, gigantic, massive, trying, nicely, can you draw, could you
    draw, can you paint, can you make, i'd, i'd like, would like, would, what, when, where, how, look like,
    lol, name, hang, glow, glowing, dimly, lit, proudly, sun, afternoon, tent, circus tent, shred, warm
    light, hold hands, anything, anyone, past, share
"""
"""Words that do not change what the models draw."""

NEGATIONS = """
    not, no, without, never, neither, nor, isn't, aren't, doesn't, don't, wasn't, won't, ain't, isnt,
    doesnt, minus, sans, except, excluding, instead of, rather than, other than, lacking, free of, lack,
    anything but, w o, exclude, avoid, dont, no more
"""

AGENTS = """
    gamer, guitarist, guitar player, saxophonist, saxophone player, sax player, skater, skateboarder,
    cyclist, juggler, painter, artist, chemist, alchemist, mad scientist, lifter, weightlifter, bodybuilder,
    powerlifter, strongman, jockey, dancer, runner, jogger, sprinter, walker, hiker, wanderer, jazz
    musician, mathematician, math teacher, circus juggler, bookworm
"""
"""Wordings of actions that name a person."""

OFTEN_MISTYPED = """
    panda, rabbit, bunny, puppy, corgi, kitten, robot, android, lobster, penguin, teddy, golden, retriever,
    horse, astronaut, skeleton, dragon, woman, grizzly, guitar, saxophone, beret, baguette, skateboard,
    bicycle, umbrella, balloon, chemicals, juggling, juggles, weights, barbell, controller, gamepad,
    dancing, dances, waving, jumping, running, walking, sitting, standing, spinning, swinging, reading,
    painting, drinking, eating, playing, riding, holding, wearing, skateboarding, calculus, blackboard,
    potion, easel, canvas, swing, background, beach, sunset, experiment
"""
"""Words whose misspellings are read, by one wrong, missing, added or swapped letter."""

NOT_MISTYPED = """
    beech, benny, breach, controlled, dining, eased, easing, experimental, hoarse, horde, horst, parting,
    patting, panting, paying, poppy, portion, praying, printing, rabbi, rabbis, placing, danes, horne,
    redding, raiding, retrieve, retrieved, retrieval, rising, ruining, sewing, sling, spanning, spitting,
    stinging, sting, subset, waking, weaving, weighs, house, mouse, planting, dunking, winking, talking,
    balking, wailing, bench, reach, peach, spring, string, hunting, setting, racing, raging, reaping,
    leading, heading, beading, feeding, seeding, loading, folding, molding, healing, bearing, tearing,
    weary, sunsets, canvass, potions, kitted, mitten, bitten, dragoon, wagon, lancing, prancing, bumping,
    dumping, pumping, cunning, gunning, stunning, slinging, clinging, staying, laying
"""
"""Words that differ from those by one letter but are words of their own."""
