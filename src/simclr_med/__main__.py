from simclr_med.cli.main import main

main()
