# cmake --install: the program, its demo pair, man page, completions, and the header for plug-ins.
include(GNUInstallDirs)
install(TARGETS lever_app RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# Where the program looks beside itself: see demo_model_path in apps/lever/app.c.
set(share ${CMAKE_INSTALL_DATADIR})
install(DIRECTORY models/ DESTINATION ${share}/lever/models FILES_MATCHING PATTERN "*.gguf" PATTERN "*.md")
install(FILES share/man/lever.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES share/completion/lever.bash DESTINATION ${share}/bash-completion/completions RENAME lever)
install(FILES share/completion/_lever DESTINATION ${share}/zsh/site-functions)
install(FILES share/completion/lever.fish DESTINATION ${share}/fish/vendor_completions.d)
install(FILES include/lever/device_plugin.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lever)
