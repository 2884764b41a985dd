from simclr_med.cli.entry import main

main()
