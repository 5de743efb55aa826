# The page of lever serve becomes part of the program: page_files.h, page_files.c.
set(page_names index.html style.css icon.svg theme.js app.js stream.js message.js answer.js tree.js panel.js
    settings.js example.js)
list(TRANSFORM page_names PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/page/ OUTPUT_VARIABLE page_paths)
list(JOIN page_names "," page_list)
add_custom_command(OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/page_files.c
    COMMAND ${CMAKE_COMMAND} -DFOLDER=${CMAKE_CURRENT_SOURCE_DIR}/page -DFILES=${page_list}
            -DOUT=${CMAKE_CURRENT_BINARY_DIR}/page_files.c -P ${CMAKE_SOURCE_DIR}/cmake/embed_page.cmake
    DEPENDS ${page_paths} ${CMAKE_SOURCE_DIR}/cmake/embed_page.cmake VERBATIM
    COMMENT "The page of lever serve as C arrays")
target_sources(lever_app PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/page_files.c)
target_include_directories(lever_app PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
